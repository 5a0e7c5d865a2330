from __future__ import annotations

import math
from pathlib import Path

from active_learning.report.runs import RunResult
from active_learning.report.waiting import waiting_in_words, waiting_of
from active_learning.run.state import LoopScores


def run_with(name: str, *minutes: tuple[float, float, float]) -> RunResult:
    """Of minutes of training, and that the person and the computer waited, loop by loop."""
    scores = tuple(
        LoopScores(1, math.nan, {}, math.nan, {}, trained, person_minutes=person, computer_minutes=computer)
        for trained, person, computer in minutes
    )
    return RunResult(Path(name), name, name, 0, ("a",), "choose", scores, "images")


def test_bars_are_shares_of_the_longest_time_of_the_runs_that_waited():
    rows = waiting_of([run_with("nobody", (99, 0, 0)), run_with("uncertainty", (10, 0, 40), (20, 5, 0))])
    assert [(row.run, row.loop) for row in rows] == [("uncertainty", 0), ("uncertainty", 1)]
    assert [row.bars for row in rows] == [[(10, 25), (0, 0), (40, 100)], [(20, 50), (5, 12.5), (0, 0)]]
    assert waiting_in_words(rows) == "30 minutes of training; a person waited 5.0 minutes, the computer 40."


def test_nobody_waited():
    assert waiting_of([run_with("random", (10, 0.01, 0.04))]) == []
    assert waiting_in_words([]) == ""
