"""Small files of which all has arrived: the bytes and the end stand right behind their `create`."""

from collections.abc import Callable

from app.handler import Batch, Failure
from handlers.upload.messages import End, Promise, parse_many
from handlers.upload.small import SMALL


class Arrived:
    """What stands behind a `create` and can be had without waiting; `take` gives at most so many bytes, or a text.

    Where it is all that belongs to a small file of at most `limit` bytes, `end` is there and `data` has the bytes.
    Else `items` are what was taken, to be used like any others.
    """

    def __init__(self, promise: Promise, limit: int, take: Callable[[int], Batch | str | None]) -> None:
        self.items: list[Batch | str] = []
        self.data = b""
        self.end: End | None = None
        most = min(SMALL, limit) if promise.size is None else promise.size
        if most <= SMALL:
            self._look(promise.size, most, take)

    def _look(self, size: int | None, most: int, take: Callable[[int], Batch | str | None]) -> None:
        item = take(max(most, 1))
        batch, text = (item, take(1)) if isinstance(item, Batch) else (None, item)
        data = b"" if batch is None else b"".join(batch.views)
        end = _end(text)
        if end is None or size not in (None, len(data)):
            self.items = [item for item in (batch, text) if item is not None]
            return
        self.data, self.end = data, end
        if batch is not None:
            batch.release()


def _end(item: Batch | str | None) -> End | None:
    if not isinstance(item, str):
        return None
    try:
        message = parse_many(item)
    except Failure:
        return None
    return message if isinstance(message, End) else None
