"""What a strategy saves, worked out by hand."""

from __future__ import annotations

import csv
import io
import math

import pytest

from active_learning.report.comparison import HEADERS, as_csv, compare, table_rows
from active_learning.report.runs import read_runs


def test_a_strategy_against_random(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 25.0, 40.0])
    make_run(tmp_path / "random", [10.0, 20.0, 30.0, 50.0])
    (row,) = compare(read_runs(tmp_path))
    assert (row.label, row.seeds, row.images, row.random_images) == ("uncertainty", 1, 30, 40)
    assert row.mask_ap.value == 40
    assert row.gain.value == pytest.approx((5 + 10) / 2)
    assert row.random_needs.value == 35  # half-way from 30 images with 30 % to 40 with 50 %
    assert row.needs.value == math.inf
    assert table_rows([row])[0] == ["uncertainty", "1", "30", "40.0", "+7.5", "35", "> 30", "–"]
    assert len(table_rows([row])[0]) == len(HEADERS)


def test_the_share_saved(tmp_path, make_run):
    for seed in range(3):
        make_run(tmp_path / f"hybrid_seed{seed}", [10.0, 30.0 + seed, 40.0])
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0 + seed])
    (row,) = compare(read_runs(tmp_path))
    assert row.needs.value == 20
    assert row.saved.value == pytest.approx(100 / 3)
    assert row.saved.low <= row.saved.value <= row.saved.high
    assert table_rows([row])[0][-1].startswith("33 [33, 33]")


def test_csv_has_every_number(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 12.0])
    make_run(tmp_path / "random", [10.0, 20.0])
    (row,) = csv.DictReader(io.StringIO(as_csv(compare(read_runs(tmp_path)))))
    assert row["needs_for_random_mAP"] == "inf" and row["saved_percent"] == "-inf"
    assert row["random_needs"] == "12.00" and row["random_needs_low"] == ""


@pytest.mark.parametrize(
    "folders",
    [["uncertainty"], ["random"], ["uncertainty", "hybrid"]],
    ids=["one strategy", "random alone", "no random"],
)
def test_nothing_to_compare(tmp_path, make_run, folders):
    for name in folders:
        make_run(tmp_path / name, [10.0, 20.0])
    assert compare(read_runs(tmp_path)) == []


def test_runs_that_have_just_begun_are_not_compared(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 20.0])
    make_run(tmp_path / "random", [10.0], phase="choose")
    assert compare(read_runs(tmp_path)) == []


def test_a_test_set_without_objects_is_not_compared(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [math.nan, math.nan])
    make_run(tmp_path / "random", [10.0, 20.0])
    assert compare(read_runs(tmp_path)) == []
