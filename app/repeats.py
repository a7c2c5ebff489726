"""Lines of the log that say the same refusal of the same caller: the first few of a second are written, the others
summed up, so that a flood does not fill the log. Pure: the clock is handed in.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

FEW: Final = 5  # lines of one kind and caller in a second
SECOND: Final = 1.0

Event = MutableMapping[str, Any]
_ANSWERS: Final = {"request", "request.malformed", "request.lost"}
_MARK: Final = "repeated"  # the field of a line that stands for so many that were not written


@dataclass(slots=True)
class _Kind:
    since: float
    lines: int = 0
    last: Event | None = None  # the newest that was not written


def is_refusal(event: Event) -> bool:
    """An answer of HTTP with a `failure`, what was no HTTP, and every event that is called so: `upload.refused`."""
    name = str(event.get("event"))
    return name.endswith(".refused") or (name in _ANSWERS and _word(event) is not None)


def _word(event: Event) -> Any:
    """Where no middleware has seen a request, since it was none, there is a status alone."""
    status = event.get("status", 0)
    return event.get("failure") or event.get("problem") or (status if status >= 400 else None)


class Repeats:
    """The kind of a line is its event, the word of its failure or problem, and whose it is."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    def wanted(self, event: Event) -> bool:
        """Whether this line is to be written."""
        if _MARK in event or not is_refusal(event):
            return True
        key = event["event"], _word(event), event.get("user"), event.get("remote")
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._clock())
        kind.lines += 1
        if kind.lines > FEW:
            kind.last = event
        return kind.lines <= FEW

    def due(self, *, all_of_them: bool = False) -> list[Event]:
        """One line for each kind whose second is over: the last that was not written, with how many it stands for."""
        over = self._clock() - SECOND
        found = [key for key, kind in self._kinds.items() if all_of_them or kind.since <= over]
        kinds = [self._kinds.pop(key) for key in found]
        return [{**kind.last, _MARK: kind.lines - FEW} for kind in kinds if kind.last is not None]
