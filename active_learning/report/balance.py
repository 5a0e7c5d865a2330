"""Which classes the chosen images brought: does choosing favour the rare ones?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from active_learning.report.runs import RunResult


@dataclass(frozen=True)
class ClassShare:
    """Objects of a class, over all seeds: `initial` in the initial images, `chosen` in those chosen since.

    Shares are percent of all objects of their kind. Where annotations have been corrected since, `chosen` may be
    negative: runs count the objects of a whole training set.
    """

    name: str
    initial: int
    chosen: int
    initial_share: float
    chosen_share: float


def class_balance(runs: Sequence[RunResult], names: Sequence[str]) -> list[ClassShare]:
    """Of one strategy, a share for each of the class names, in their order; empty where nothing was chosen yet, or the
    runs did not count objects."""
    initial: Counter[str] = Counter()
    last: Counter[str] = Counter()
    for run in runs:
        if run.scores and run.scores[0].objects:  # an earlier version counted none
            initial.update(run.scores[0].objects)
            last.update(run.scores[-1].objects)
    chosen = {name: last[name] - initial[name] for name in names}
    before, since = sum(initial.values()), sum(chosen.values())
    if not since:
        return []
    return [
        ClassShare(name, initial[name], number, 100 * initial[name] / max(before, 1), 100 * number / since)
        for name, number in chosen.items()
    ]
