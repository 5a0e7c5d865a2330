"""Numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from active_learning.report.comparison import compare
from active_learning.report.curves import Curve, band, by_objects, images_needed, interval, map_curve, object_curve
from active_learning.report.runs import by_label, read_runs


def curve(*rows: list[float], sizes: list[float] | None = None) -> Curve:
    return Curve("s", np.array(sizes or [10.0, 20.0, 40.0]), np.array(rows), tuple(range(len(rows))))


@pytest.mark.parametrize(
    ("values", "target", "needed"),
    [
        ([10.0, 20.0, 30.0], 20.0, 20.0),
        ([10.0, 20.0, 30.0], 15.0, 15.0),
        ([10.0, 20.0, 30.0], 25.0, 30.0),
        ([10.0, 20.0, 30.0], 5.0, 10.0),
        ([10.0, 20.0, 30.0], 31.0, math.inf),
        ([10.0, 30.0, 20.0], 20.0, 15.0),
    ],
    ids=["at a point", "between", "between uneven sizes", "from the start", "never", "first time"],
)
def test_images_needed(values: list[float], target: float, needed: float):
    assert images_needed(np.array([10.0, 20.0, 40.0]), np.array(values), target) == needed


def test_one_seed_has_no_interval():
    one = curve([1.0, 2.0, 3.0])
    assert band(one) is None
    assert not interval(lambda mean: float(mean[-1]), one).known


def test_the_band_lies_between_the_seeds_and_holds_the_mean():
    low, high = band(curve([1.0, 2.0, 3.0], [3.0, 2.0, 5.0], [2.0, 2.0, 4.0]))
    assert (low >= [1, 2, 3]).all() and (high <= [3, 2, 5]).all()
    assert (low <= [2, 2, 4]).all() and (high >= [2, 2, 4]).all()


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    rng = np.random.default_rng(1)
    rows = rng.normal(50, 4, (40, 3))
    found = interval(lambda mean: float(mean[0]), Curve("s", np.arange(3.0), rows, tuple(range(40))))
    assert found.value == pytest.approx(rows[:, 0].mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * rows[:, 0].std() / math.sqrt(40), rel=0.1)


def test_seeds_that_two_curves_share_are_resampled_together():
    rows = np.random.default_rng(2).normal(50, 10, (5, 3))
    ours, others = (
        Curve(label, np.arange(3.0), rows + shift, tuple(range(5))) for label, shift in (("a", 2), ("b", 0))
    )
    found = interval(lambda a, b: float(a[-1] - b[-1]), ours, others)
    assert found.low == pytest.approx(2) and found.high == pytest.approx(2)


def test_infinite_resamples_make_an_infinite_bound():
    found = interval(
        lambda mean: images_needed(np.array([10.0, 20.0]), mean, 50.0),
        curve([10.0, 60.0], [10.0, 60.0], [10.0, 45.0], sizes=[10.0, 20.0]),
    )
    assert math.isfinite(found.value) and math.isfinite(found.low) and found.high == math.inf


@pytest.mark.parametrize(
    ("phases", "mean", "seeds"),
    [
        (("train", "train"), [11, 21], (0, 1)),
        (("finished", "train"), [10, 20, 30], (0,)),
        (("finished", "finished"), [11, 21], (0, 1)),
    ],
    ids=["both run", "one has finished", "one stopped early"],
)
def test_a_curve_goes_as_far_as_its_seeds(tmp_path, make_run, phases: tuple, mean: list, seeds: tuple):
    make_run(tmp_path / "random_seed0", [10.0, 20.0, 30.0], phase=phases[0])
    make_run(tmp_path / "random_seed1", [12.0, 22.0], phase=phases[1])
    found = map_curve(read_runs(tmp_path))
    assert found.mean.tolist() == mean
    assert found.seeds == seeds


def test_seeds_of_a_budget_of_objects_have_other_numbers_of_images(tmp_path, make_run):
    for seed, step in enumerate((8, 12)):
        state = make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0 + seed], step=step) / "run_state.json"
        document = json.loads(state.read_text("utf-8"))
        document["settings"] = {"budget": "objects"}
        state.write_text(json.dumps(document), encoding="utf-8")
    runs = read_runs(tmp_path)
    found = map_curve(runs)
    assert (found.sizes.tolist(), found.mean.tolist()) == ([10, 20], [10, 20.5])
    assert by_objects(found, object_curve(runs)).sizes.tolist() == [10, 30]


def test_a_seed_without_a_score_is_left_out(tmp_path, make_run):
    make_run(tmp_path / "random_seed0", [10.0, 20.0], phase="train")
    make_run(tmp_path / "random_seed1", [], phase="train")
    assert map_curve(read_runs(tmp_path)).sizes.tolist() == [10, 20]


def test_a_seed_with_an_image_fewer_cuts_no_curve(tmp_path, make_run):
    for seed in range(3):
        make_run(tmp_path / f"hybrid_seed{seed}", [10.0, 30.0, 40.0])
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0])
    (before,) = compare(read_runs(tmp_path))
    for name in ("hybrid_seed1", "random_seed2"):
        state = tmp_path / name / "run_state.json"
        document = json.loads(state.read_text("utf-8"))
        for row in document["history"][1:]:
            row["train_size"] -= 1
        state.write_text(json.dumps(document), encoding="utf-8")
        runs = read_runs(tmp_path)
        (row,) = compare(runs)
        assert [len(map_curve(same).sizes) for same in by_label(runs).values()] == [3, 3]
        assert (row.gains.keys(), row.images) == (before.gains.keys(), before.images)
        assert row.needs.value == pytest.approx(before.needs.value, abs=1)
        assert row.gain.value == pytest.approx(before.gain.value, abs=1)  # a point of mAP an image here


def test_a_strategy_and_seed_count_once(tmp_path, make_run, caplog):
    """As where `seed: 0` became `seed: [0, 1]`."""
    make_run(tmp_path / "random", [10.0, 20.0], phase="train")
    make_run(tmp_path / "random_seed0", [11.0, 21.0])
    make_run(tmp_path / "random_seed1", [12.0, 22.0])
    make_run(tmp_path / "hybrid", [10.0, 20.0, 30.0], phase="train")
    make_run(tmp_path / "hybrid_seed0", [11.0, 21.0])
    assert [run.folder.name for run in read_runs(tmp_path)] == ["hybrid", "random_seed0", "random_seed1"]
    assert "random: left out of the report: random_seed0 is of the same strategy and seed 0" in caplog.text
