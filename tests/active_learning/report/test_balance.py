"""Numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

from active_learning.report.balance import ClassShare, class_balance
from active_learning.report.runs import RunResult
from active_learning.run.state import LoopScores


def run_with(*objects: dict[str, int], seed: int = 0) -> RunResult:
    """Of objects of each class in the training set, loop by loop."""
    scores = tuple(LoopScores(1, math.nan, {}, math.nan, {}, 1.0, objects=one) for one in objects)
    return RunResult(Path("x"), "uncertainty", "uncertainty", seed, ("a", "b"), "choose", scores, "images")


def test_shares_are_of_all_objects_of_their_kind_over_the_seeds():
    runs = [run_with({"a": 30, "b": 10}, {"a": 33, "b": 16}), run_with({"a": 30, "b": 10}, {"a": 37, "b": 24}, seed=1)]
    assert class_balance(runs, ["a", "b"]) == [
        ClassShare("a", initial=60, chosen=10, initial_share=75.0, chosen_share=100 / 3),
        ClassShare("b", initial=20, chosen=20, initial_share=25.0, chosen_share=200 / 3),
    ]


def test_nothing_was_chosen_or_counted():
    assert class_balance([], ["a"]) == []
    assert class_balance([run_with()], ["a"]) == []
    assert class_balance([run_with({}, {})], ["a"]) == []
    assert class_balance([run_with({}, {"a": 3, "b": 1})], ["a", "b"]) == []  # begun by an earlier version
    assert class_balance([run_with({"a": 3, "b": 1})], ["a", "b"]) == []
