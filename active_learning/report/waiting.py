"""Who waited for whom: how long each loop trained, and how long a person and the computer waited for its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from active_learning.report.runs import RunResult
from active_learning.run.state import LoopScores


@dataclass(frozen=True)
class LoopWaiting:
    """Of one loop, in minutes; the shares are percent of the longest time in the table, for bars."""

    run: str
    loop: int
    trained: float
    person: float
    computer: float
    longest: float

    @property
    def bars(self) -> list[tuple[float, float]]:
        return [(value, 100 * value / self.longest) for value in (self.trained, self.person, self.computer)]


def waiting_of(runs: Sequence[RunResult]) -> list[LoopWaiting]:
    """Of the runs in which somebody waited."""
    shown = [run for run in runs if any(row.waited for row in run.scores)]
    longest = max((time for run in shown for row in run.scores for time in _times(row)), default=0.0)
    return [
        LoopWaiting(run.folder.name, loop, *_times(row), longest)
        for run in shown
        for loop, row in enumerate(run.scores)
    ]


def _times(row: LoopScores) -> tuple[float, float, float]:
    return (row.minutes, *row.waiting)


def waiting_in_words(rows: Sequence[LoopWaiting]) -> str:
    """The sums in a sentence; "" for no rows."""
    if not rows:
        return ""
    sums = [sum(values) for values in zip(*((row.trained, row.person, row.computer) for row in rows), strict=True)]
    trained, person, computer = (f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in sums)
    return f"{trained} minutes of training; a person waited {person} minutes, the computer {computer}."
