from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.modeling.matcher import Matcher

QUALITY = torch.tensor([[0.1, 0.3, 0.65, 0.7, 0.0], [0.2, 0.5, 0.6, 0.1, 0.25]])


@pytest.mark.parametrize(
    ("low_quality", "expected"),
    [(False, [0, -1, -1, 1, 0]), (True, [0, -1, 1, 1, 0])],
    ids=["by threshold", "best of each truth too"],
)
def test_labels_and_matches(low_quality: bool, expected: list[int]) -> None:
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], low_quality)(QUALITY)
    assert matches.tolist() == [1, 1, 0, 0, 1]
    assert labels.tolist() == expected
    assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


def test_all_ties_for_a_truth_are_positive() -> None:
    _, labels = Matcher([0.5], [0, 1], True)(torch.tensor([[0.2, 0.1, 0.2]]))
    assert labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("num_predictions", [0, 4])
def test_without_ground_truth_everything_is_background(num_predictions: int) -> None:
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], True)(torch.zeros(0, num_predictions))
    assert matches.tolist() == [0] * num_predictions
    assert labels.tolist() == [0] * num_predictions


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.integers(1, 4))
def test_labels_follow_from_the_best_quality(values: list[float], num_truths: int) -> None:
    quality = torch.tensor(values).repeat(num_truths, 1)
    _, labels = Matcher([0.25, 0.5], [0, -1, 1])(quality)
    assert labels.tolist() == [0 if v < 0.25 else -1 if v < 0.5 else 1 for v in values]


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [([0.7, 0.3], [0, -1, 1]), ([0.0], [0, 1]), ([0.5], [0, -1, 1]), ([0.5], [0, 2]), ([], [0])],
    ids=["falling", "at zero", "too many labels", "unknown label", "none"],
)
def test_wrong_options(thresholds: list[float], labels: list[int]) -> None:
    with pytest.raises(AssertionError, match="IOU_"):
        Matcher(thresholds, labels)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("low_quality", [False, True])
def test_torchscript_gives_the_same_matches(low_quality: bool) -> None:
    options = ([0.3, 0.7], [0, -1, 1], low_quality)
    for found, expected in zip(torch.jit.script(Matcher)(*options)(QUALITY), Matcher(*options)(QUALITY), strict=True):
        assert torch.equal(found, expected)
