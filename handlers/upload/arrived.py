"""Small files of which all has arrived: the bytes and the end stand right behind their `create`."""

from collections.abc import Callable

from app.handler import Batch, Failure
from handlers.upload.messages import End, Promise, parse_many
from handlers.upload.small import SMALL


class Arrived:
    """What stands behind a `create` and can be had without waiting; `take` gives at most so many bytes, or a text.

    Where it is all that belongs to the file `end` is there, and `data` has the bytes. Else `items` are what was
    taken, to be used like any others.
    """

    def __init__(self, promise: Promise, take: Callable[[int], Batch | str | None]) -> None:
        self.items: list[Batch | str] = []
        self.data = b""
        self.end: End | None = None
        size = promise.size
        if size is not None and size <= SMALL:
            self._look(size, take)

    def _look(self, size: int, take: Callable[[int], Batch | str | None]) -> None:
        batch = take(size) if size else None
        if isinstance(batch, str) or (size and (batch is None or batch.size < size)):
            self.items = [] if batch is None else [batch]
            return
        text = take(1)
        self.end = _end(text)
        if self.end is None:
            self.items = [item for item in (batch, text) if item is not None]
        elif batch is not None:
            self.data = b"".join(batch.views)
            batch.release()


def _end(item: Batch | str | None) -> End | None:
    if not isinstance(item, str):
        return None
    try:
        message = parse_many(item)
    except Failure:
        return None
    return message if isinstance(message, End) else None
