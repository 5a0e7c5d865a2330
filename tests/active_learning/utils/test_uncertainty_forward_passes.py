"""Certainties of a growing number of passes, made by hand."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from active_learning.sampling.observations import Detection, ForwardPasses, Mask
from active_learning.utils.uncertainty_forward_passes import (
    objects_csv,
    plot,
    rank_correlation,
    settle,
    steps_up_to,
    summary,
)


def detection(x: int) -> Detection:
    box = np.array([x, 0, x + 10, 10], dtype=np.float64)
    return Detection(Mask(x, 0, np.ones((10, 10), dtype=bool), 100), box, np.array([1.0, 0.0]))


def settled(*passes: tuple[Detection, ...]):
    forward_passes = ForwardPasses(passes, np.zeros(1, dtype=np.float32), 10, 100)
    return settle("ä.png", forward_passes, iou_threshold=0.5, mode="mean")


@pytest.mark.parametrize(
    ("passes", "steps"), [(2, (2,)), (5, (2, 3, 4, 5)), (7, (2, 3, 4, 5, 6, 7)), (500, None)], ids=str
)
def test_steps(passes: int, steps: tuple[int, ...] | None):
    found = steps_up_to(passes)
    assert found[0] == 2 and found[-1] == passes and list(found) == sorted(set(found))
    assert steps is None or found == steps


def test_certainty_of_the_first_passes():
    one, other = detection(0), detection(50)
    found = settled((one,), (), (one, other), (one,))
    assert found.passes == (2, 3, 4)
    assert found.objects[:, 0, 0].tolist() == pytest.approx([1 / 2, 2 / 3, 3 / 4])  # all but occurrence is 1
    assert math.isnan(found.objects[0, 1, 0])
    assert found.objects[1:, 1, 0].tolist() == pytest.approx([1 / 3, 1 / 4])
    assert found.image.tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2])


def test_the_summary_counts_what_has_been_detected():
    one, other = detection(0), detection(50)
    rows = summary([settled((one,), (), (one, other), (one,)), settled((), (), (one,), (one,))])
    assert [row[:2] for row in rows] == [[2, 1], [3, 3], [4, 3]]
    assert rows[0][2] == pytest.approx(3 / 4 - 1 / 2)
    assert rows[-1][2:5] == [0, 0, 0]


def test_nothing_detected_at_all():
    rows = summary([settled((), (), ())])
    assert rows[-1][1] == 0 and math.isnan(rows[-1][2])


def test_a_line_an_object_and_number_of_passes(tmp_path: Path):
    found = [settled((detection(0),), (), (detection(0), detection(50)))]
    rows = list(csv.DictReader(io.StringIO(objects_csv(found))))
    assert [(row["object"], row["passes"]) for row in rows] == [("0", "2"), ("0", "3"), ("1", "3")]
    assert rows[0]["image"] == "ä.png" and float(rows[1]["occurrence"]) == pytest.approx(2 / 3, abs=1e-6)
    plot(found, summary(found), 2, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.filterwarnings("error")
def test_more_passes_in_the_settings_than_were_made_are_no_part_of_the_figure(tmp_path: Path):
    """The line stood beside the axes, which shrank to make room for it."""
    found = [settled((detection(0),), (), (detection(0), detection(50)))]
    plot(found, summary(found), 100, tmp_path / "x.png")
    plot(found, summary(found), 3, tmp_path / "y.png")
    assert (tmp_path / "x.png").read_bytes() != (tmp_path / "y.png").read_bytes()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486832980505138),  # as scipy.stats.spearmanr has it
        ([5, 5, 5], [1, 2, 3], math.nan),
        ([1], [1], math.nan),
    ],
)
def test_rank_correlation_with_equal_values(a: list[float], b: list[float], expected: float):
    found = rank_correlation(np.array(a, dtype=float), np.array(b, dtype=float))
    assert found == pytest.approx(expected, nan_ok=True)
