"""What a row is: entries that run in turn, round after round, and the goals that their figures are held to."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.measure import Sample

NOISY: Final = 1.5  # the slowest over the fastest run, from which on a figure is called noisy


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a row: what is run once a round. `does` says what the server does for a file."""

    label: str
    run: Callable[[], Sample]
    does: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """`metric` of `label` and its bound.

    It is held as it is, or as a ratio `against` another entry, or as what it has `beyond` another; those
    two are of the same round. Without a bound it is only written down.
    """

    label: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    beyond: str | None = None

    def __str__(self) -> str:
        what = f"{self.label}: {self.metric}{self._bound}"
        if self.against is not None:
            return f"{what} × that of {self.against}" if self._bound else f"{what} in proportion to {self.against}"
        return f"{what} beyond that of {self.beyond}" if self.beyond is not None else what

    @property
    def _bound(self) -> str:
        if self.at_least is not None:
            return f" ≥ {self.at_least:g}"
        return f" ≤ {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True, slots=True)
class Row:
    """One question put to several servers. `metrics` are the columns to print, `rounds` how often all are run."""

    key: str
    title: str
    metrics: Sequence[str]
    entries: Sequence[Entry]
    goals: Sequence[Goal]
    rounds: int
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """What several rounds came to."""

    samples: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.samples)

    @property
    def noisy(self) -> bool:
        """Whether the machine did something else meanwhile."""
        return len(self.samples) > 1 and max(self.samples) > NOISY * min(self.samples)


@dataclass(slots=True)
class Results:
    """The samples of one row, by label: the same place in two lists is the same round."""

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def figure(self, label: str, metric: str) -> Figure | None:
        """A metric of an entry; None where it was not measured."""
        found = [sample[metric] for sample in self.samples.get(label, []) if metric in sample]
        return Figure(found) if found else None

    def judged(self, goal: Goal) -> tuple[Figure, bool | None] | None:
        """The figure that a goal speaks of, and whether its median keeps it, if it has a bound.

        None where an entry is missing.
        """
        figure = self.figure(goal.label, goal.metric)
        if goal.against is not None:
            figure = self._paired(figure, goal.against, goal.metric, operator.truediv)
        elif goal.beyond is not None:
            figure = self._paired(figure, goal.beyond, goal.metric, operator.sub)
        if figure is None:
            return None
        if goal.at_least is not None:
            return figure, figure.median >= goal.at_least
        return figure, None if goal.at_most is None else figure.median <= goal.at_most

    def _paired(
        self, ours: Figure | None, other: str, metric: str, combine: Callable[[float, float], float]
    ) -> Figure | None:
        theirs = self.figure(other, metric)
        if ours is None or theirs is None:
            return None
        return Figure(list(map(combine, ours.samples, theirs.samples)))
