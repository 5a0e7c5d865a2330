"""What a strategy saves, worked out by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from active_learning.report.comparison import compare, in_a_sentence, rarest_classes
from active_learning.report.comparison_tables import HEADERS, as_csv, gain_table, table_rows
from active_learning.report.figures import saving_of
from active_learning.report.runs import RunResult, read_runs
from active_learning.run.state import LoopScores


def test_a_strategy_against_random(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 25.0, 40.0])
    make_run(tmp_path / "random", [10.0, 20.0, 30.0, 50.0])
    (row,) = compare(read_runs(tmp_path))
    assert (row.label, row.seeds, row.images, row.random_images) == ("uncertainty", 1, 30, 40)
    assert row.mask_ap.value == 40
    assert row.gain.value == pytest.approx((5 + 10) / 2)
    assert row.random_needs.value == 35  # half-way from 30 images with 30 % to 40 with 50 %
    assert row.needs.value == math.inf
    assert table_rows([row])[0] == [
        "uncertainty", "1", "–", "–", "> 30", "> 50", "30", "40.0", "+7.5", "35", "50; 60"
    ]  # fmt: skip
    assert len(table_rows([row])[0]) == len(HEADERS)


@pytest.mark.parametrize(
    ("random", "gain"),
    [
        pytest.param([10.0, 20.0], 5.0, id="random in its first loop"),
        pytest.param([10.0, 20.0, 30.0], 7.5, id="random stopped early"),
    ],
)
def test_what_random_has_not_reached_is_not_compared(tmp_path, make_run, random, gain):
    make_run(tmp_path / "uncertainty", [10.0, 25.0, 40.0, 90.0])
    make_run(tmp_path / "random", random)
    (row,) = compare(read_runs(tmp_path))
    assert row.gain.value == pytest.approx(gain)
    assert list(row.gains) == [10, 20, 30][: len(random)]


def test_the_share_saved(tmp_path, make_run):
    for seed in range(3):
        make_run(tmp_path / f"hybrid_seed{seed}", [10.0, 30.0 + seed, 40.0])
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0 + seed])
    (row,) = compare(read_runs(tmp_path))
    assert row.needs.value == 20
    assert row.saved.value == pytest.approx(100 / 3)
    assert row.saved.low <= row.saved.value <= row.saved.high
    assert (row.needs_objects.value, row.saved_objects.value) == (30, pytest.approx(40))  # of 50
    assert table_rows([row])[0][2:6] == ["33 [33, 33]", "40 [40, 40]", "20 [20, 20]", "30 [30, 30]"]


def test_that_a_strategy_is_below_random_in_the_end_is_said(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 31.0, 20.0])
    make_run(tmp_path / "random", [10.0, 20.0, 30.0])
    assert "But in the end it had -10.0 mAP against chance." in in_a_sentence(compare(read_runs(tmp_path)))


def test_csv_has_every_number(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 12.0])
    make_run(tmp_path / "random", [10.0, 20.0])
    (row,) = csv.DictReader(io.StringIO(as_csv(compare(read_runs(tmp_path)), ["b"])))
    assert row["needs_for_random_mAP"] == "inf" and row["saved_percent"] == "-inf"
    assert row["random_needs"] == "12.00" and row["random_needs_low"] == ""
    assert (row["rarest"], row["rarest_above_random"]) == ("b", "-8.00")
    assert (row["objects"], row["random_objects"], row["random_needs_objects"]) == ("30.00", "30.00", "14.00")
    assert (row["mAP_above_random_at_10"], row["mAP_above_random_at_20"]) == ("0.00", "-8.00")


def test_gains_are_paired_by_seed_at_each_number_of_images_and_for_the_rarest(tmp_path, make_run):
    for seed, (ours, others) in enumerate(
        [([10.0, 22.0, 40.0], [10.0, 20.0, 30.0]), ([30.0, 45.0, 54.0], [30.0, 40.0, 50.0])]
    ):
        make_run(tmp_path / f"hybrid_seed{seed}", ours, classes=("a", "b", "c"))
        make_run(tmp_path / f"random_seed{seed}", others, classes=("a", "b", "c"))
    runs = read_runs(tmp_path)
    assert rarest_classes(runs) == ["b", "c"]
    headers, line = gain_table(compare(runs), rarest_classes(runs))
    assert headers == ["strategy", "at 10", "at 20", "at 30", "only b and c"]
    # Seed 0 gains +2 and +10, seed 1 +5 and +4. The interval is no wider, though mAPs of the seeds are 20 apart.
    assert line == ["hybrid", "+0.0 [+0.0, +0.0]", "+3.5 [+2.0, +5.0]", "+7.0 [+4.0, +10.0]", "+5.2 [+4.5, +6.0]"]


def test_a_sentence_for_everybody(tmp_path, make_run):
    make_run(tmp_path / "hybrid", [10.0, 30.0, 40.0])
    make_run(tmp_path / "random", [10.0, 20.0, 30.0])
    (alone,) = compare(read_runs(tmp_path))
    assert alone.sentence == (
        "20 images chosen by hybrid were as good as 30 by chance: 33 % fewer annotations. Counted in objects: 30 "
        "instead of 50, 40 % fewer. With one seed this may be luck."
    )


@pytest.mark.parametrize(
    ("ours", "ends"),
    [
        (
            [[10.0, 30.0, 40.0]] * 6,
            "annotations (95 % interval 33 to 33 %). Counted in objects: 30 instead of 50, 40 % fewer.",
        ),
        ([[10.0, 40.0, 45.0], [10.0, 12.0, 29.0]], "With these 2 seeds this may be luck."),
        ([[10.0, 30.0, 40.0]] * 5, "With these 5 seeds this may be luck."),
        ([[10.0, 12.0, 13.0], [10.0, 12.0, 13.0]], ""),
    ],
    ids=["sure", "luck", "few", "none"],
)
def test_a_sentence_says_how_sure_it_is(tmp_path, make_run, ours, ends):
    for seed, scores in enumerate(ours):
        make_run(tmp_path / f"hybrid_seed{seed}", scores)
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0])
    (row,) = compare(read_runs(tmp_path))
    assert row.sentence.endswith(ends) and bool(row.sentence) == bool(ends)


@pytest.mark.parametrize(
    ("ours", "random"),
    [
        pytest.param([50.0, 60.0, 58.0, 57.0], [50.0, 60.0, 58.0, 57.0], id="a curve that dips"),
        pytest.param([60.0, 59.0, 58.0, 57.0], [60.0, 59.0, 58.0, 57.0], id="a curve that falls"),
        pytest.param([40.0, 44.1, 44.5, 45.0], [40.0, 44.0, 44.0, 44.0], id="a flat curve"),
        pytest.param([40.0, 45.0, 46.0, 47.0], [40.0, 45.0, 43.0, 39.0], id="as good as the initial images"),
    ],
)
def test_nothing_is_saved_where_random_had_as_much_before(tmp_path, make_run, ours, random):
    make_run(tmp_path / "hybrid", ours)
    make_run(tmp_path / "random", random)
    (row,) = compare(read_runs(tmp_path))
    assert row.saved.value < 3 and (not row.sentence or " 2 % fewer" in row.sentence)


def test_an_interval_without_an_end_is_said(tmp_path, make_run):
    for seed, last in enumerate([45.0, 28.0]):
        make_run(tmp_path / f"hybrid_seed{seed}", [10.0, 20.0, last])
        make_run(tmp_path / f"random_seed{seed}", [10.0, 20.0, 30.0])
    (row,) = compare(read_runs(tmp_path))
    assert not math.isfinite(row.saved.low) and "(95 % interval none to" in row.sentence


def test_runs_that_did_not_count_objects_are_compared_by_images(tmp_path, make_run):
    for name in ("hybrid", "random"):
        state = make_run(tmp_path / name, [10.0, 20.0]) / "run_state.json"
        document = json.loads(state.read_text("utf-8"))
        for row in document["history"]:
            del row["objects"]
        state.write_text(json.dumps(document), encoding="utf-8")
    runs = read_runs(tmp_path)
    (row,) = compare(runs)
    assert rarest_classes(runs) == [] and row.needs.value == 20
    assert table_rows([row])[0][3] == table_rows([row])[0][-1] == "–" and "objects" not in row.sentence
    assert gain_table([row], [])[0] == ["strategy", "at 10", "at 20"]


@pytest.fixture
def in_objects(tmp_path, make_run):
    """Runs with a budget of objects: hybrid's training sets hold 10, 20 and 30, random's 10, 30 and 50."""
    make_run(tmp_path / "hybrid", [10.0, 25.0, 40.0], step=5, budget="objects")
    make_run(tmp_path / "random", [10.0, 20.0, 30.0], budget="objects")
    return tmp_path


def edit_scores(run, edit):
    """Changes each loop's line of a run's state."""
    state = json.loads((run / "run_state.json").read_text(encoding="utf-8"))
    for row in state["history"]:
        edit(row)
    (run / "run_state.json").write_text(json.dumps(state), encoding="utf-8")


def test_objects_that_random_did_not_count_are_not_told(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [10.0, 30.0, 40.0])
    edit_scores(make_run(tmp_path / "random", [10.0, 20.0, 30.0]), lambda row: row.update(objects={}))
    sentence = in_a_sentence(compare(read_runs(tmp_path)))
    assert "20 images chosen by uncertainty" in sentence and "nan" not in sentence and "objects" not in sentence


def test_a_class_that_no_test_image_holds_is_none_of_the_rarest(tmp_path, make_run):
    def of_the_last(row):
        row["per_class"]["z"] = None
        row["objects"] = {"x": 50, "y": 5, "z": 1, "w": 9}

    for name, scores in {"uncertainty": [10.0, 30.0, 40.0], "random": [10.0, 20.0, 30.0]}.items():
        edit_scores(make_run(tmp_path / name, scores, classes=("x", "y", "z", "w")), of_the_last)
    runs = read_runs(tmp_path)
    assert rarest_classes(runs) == ["y", "w"]
    assert compare(runs)[0].rarest_gain.value == pytest.approx(10)


def test_budgets_of_objects_are_compared_at_equal_objects(in_objects, make_run):
    (row,) = rows = compare(read_runs(in_objects))
    assert row.cost == "objects" and row.gains.keys() == {10, 30}  # random's, as far as hybrid goes
    assert row.gain.value == row.gains[30].value == row.rarest_gain.value == 20
    assert gain_table(rows, ["b"]) == [["strategy", "at 10", "at 30", "only b"], ["hybrid", "+0.0", "+20.0", "+20.0"]]
    assert "mAP_above_random_at_30_objects" in as_csv(rows, ["b"])
    assert row.sentence == (
        "23 objects in images chosen by hybrid were as good as 50 by chance: 53 % fewer annotations. Counted in "
        "images: 17 instead of 30, 44 % fewer. With one seed this may be luck."
    )
    make_run(in_objects / "entropy", [10.0, 12.0], step=40, budget="objects")  # one that goes on: 10 and 90 objects
    found = {row.label: row for row in compare(read_runs(in_objects))}
    assert found["hybrid"].gains == row.gains and found["entropy"].gains.keys() == {10, 30}
    assert found["entropy"].gain.value == pytest.approx(10.5 - 20)
    assert in_a_sentence([found["entropy"]]).startswith("No strategy reached with fewer objects what random")


def test_objects_that_were_not_counted_are_no_axis(in_objects):
    state = in_objects / "random" / "run_state.json"
    document = json.loads(state.read_text("utf-8"))
    for row in document["history"]:
        del row["objects"]
    state.write_text(json.dumps(document), encoding="utf-8")
    (row,) = compare(read_runs(in_objects))
    assert row.cost == "images" and row.gains.keys() == {10, 15, 20}


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


def test_random_that_learned_nothing_is_no_failure_of_the_others(tmp_path, make_run):
    make_run(tmp_path / "uncertainty", [30.0, 34.0, 38.0, 42.0])
    make_run(tmp_path / "random", [30.0, 31.0, 30.0, 29.0])
    assert in_a_sentence(compare(read_runs(tmp_path))) == (
        "Random images taught nothing beyond the initial ones, so there is nothing to save against; "
        "uncertainty had +8.0 mAP against them, mean of the loops."
    )


def test_the_sentence_is_of_a_strategy_that_saves(tmp_path, make_run):
    """Initial models may differ: one is better from the start, and has saved nothing by choosing."""
    make_run(tmp_path / "uncertainty", [50.0, 52.0, 54.0, 56.0])
    make_run(tmp_path / "hybrid", [10.0, 40.0, 41.0, 42.0])
    make_run(tmp_path / "random", [10.0, 20.0, 30.0, 40.0])
    assert in_a_sentence(compare(read_runs(tmp_path))).startswith("20 images chosen by hybrid were as good as 40")


@pytest.mark.parametrize("random_seeds", [[0], [0, 2]], ids=["one seed shared", "two of three"])
def test_the_luck_of_a_seed_that_random_lacks_is_no_gain(tmp_path, make_run, random_seeds):
    for seed in range(3):
        make_run(tmp_path / f"uncertainty_seed{seed}", [10.0 + 20 * seed + 5 * loop for loop in range(4)])
    for seed in random_seeds:
        make_run(tmp_path / f"random_seed{seed}", [10.0 + 20 * seed + 5 * loop for loop in range(4)])
    make_run(tmp_path / "random_seed1", [30.0, 35.0], phase="train")  # not finished yet
    (row,) = compare(read_runs(tmp_path))
    assert row.gain.value == pytest.approx(0)
    assert (row.seeds, row.saved.value) == (len(random_seeds), 0)


def in_memory(
    label: str, seeds: Sequence[Sequence[float]], sizes: Sequence[int] = (60, 90, 120, 150), *, first: int = 0,
    objects: Sequence[Sequence[int]] | None = None,
) -> list[RunResult]:  # fmt: skip
    """Runs of seeds from `first` on, with these mAP values, and with `objects` budgets that are counted in them."""
    found = []
    for number, scores in enumerate(seeds):
        counts = [{"a": count} for count in objects[number]] if objects else [{}] * len(scores)
        rows = zip(sizes, scores, counts, strict=True)
        history = tuple(
            LoopScores(size, score, {"a": score}, score, {"a": score}, 1.0, held) for size, score, held in rows
        )
        budget = "objects" if objects else "images"
        run = RunResult(Path(label), label, label, first + number, ("a",), "finished", history, budget)
        found.append(run)
    return found


def test_objects_at_which_a_pair_is_compared_are_those_of_its_own_seeds():
    """Of random's other seed, which has more of them, the pair knows nothing."""
    ours = in_memory("uncertainty", [[20, 35, 45, 55]], objects=[[100, 210, 330, 450]])
    counts = [[100, 180, 260, 340], [100, 220, 340, 460]]
    (row,) = compare([*ours, *in_memory("random", [[20, 30, 40, 48]] * 2, objects=counts)])
    assert list(row.gains) == [100, 180, 260, 340]
    exact = [20 + 15 * 80 / 110 - 30, 35 + 10 * 50 / 120 - 40, 45 + 10 * 10 / 120 - 48]
    assert [row.gains[count].value for count in (180, 260, 340)] == pytest.approx(exact)
    assert row.gain.value == pytest.approx(sum(exact) / 3) and row.gain.value < 0


def test_a_saving_that_many_resamples_do_not_have_may_be_luck():
    ours = in_memory("uncertainty", [[20, *[45.2 + plus] * 3] for plus in (3, -3, 2, -2, 1, -1, 2, -1)])
    (row,) = rows = compare([*ours, *in_memory("random", [[20, 30, 40, 45]] * 8)])
    assert row.gain.low > 0 and row.saved.low == -math.inf
    assert row.sentence.endswith("(95 % interval none to 41 %). With these 8 seeds this may be luck.")
    assert saving_of(rows, "images").may_be_luck


def test_the_first_is_that_which_saves_most_of_its_own_randoms_images():
    """Strategies may have other seeds, and each is compared with random on its own."""
    ours = [*in_memory("entropy", [[20, 31, 40, 45]]), *in_memory("uncertainty", [[20, 30, 50, 60]], first=1)]
    rows = compare([*ours, *in_memory("random", [[20, 30, 30, 25], [20, 30, 40, 49]])])
    assert [(row.label, round(row.saved.value)) for row in rows] == [("uncertainty", 21), ("entropy", 2)]


@pytest.mark.parametrize(
    ("ours", "randoms", "text"),
    [
        (
            in_memory("u", [[20, 40, 50, 55]], objects=[[100, 200, 300, 400]]),
            in_memory("random", [[20, 30, 40, 45]], objects=[[100, 150, 200, 250]]),
            "No strategy reached with fewer objects",
        ),
        (in_memory("u", [[20, 30, 40, 50.05]]), in_memory("random", [[20, 30, 40, 50]]), "No strategy reached with"),
        (
            in_memory("u", [[42, 45, 47, 50]]),
            in_memory("random", [[38, 39, 40, 41]], first=1),
            "u had with its initial images what random images reached in the end",
        ),
        (
            [run for one in (0, 1) for run in in_memory("u", [[40.5, 42, 44]], [60 + one, 90, 120], first=one)],
            [run for one in (0, 1) for run in in_memory("random", [[40.2, 40, 40.4]], [60 + one, 90, 120], first=one)],
            "u had with its initial images what random images reached in the end",
        ),
        (
            in_memory("u", [[40, 42, 44, 46]] * 2, objects=[[120, 200, 300, 400], [121, 200, 300, 400]]),
            in_memory("random", [[40, 39, 38, 37]] * 2, objects=[[120, 200, 300, 400], [121, 200, 300, 400]]),
            "Random images taught nothing beyond the initial ones",
        ),
    ],
    ids=["as many objects", "less than 0.5 %", "no seed shared", "half an image", "half an object"],
)  # fmt: skip
def test_what_is_no_saving_is_not_told_as_one(ours, randoms, text):
    rows = compare([*ours, *randoms])
    assert rows[0].sentence == ""
    assert in_a_sentence(rows).startswith(text)


def test_as_many_of_the_other_cost_are_no_more():
    ours = in_memory("u", [[20, 40, 50, 55]], objects=[[100, 200, 300, 400]])
    randoms = in_memory("random", [[20, 30, 40, 45]], objects=[[100, 150, 200, 250]])
    (row,) = compare([replace(run, budget="images") for run in (*ours, *randoms)])
    assert "Counted in objects: 250 instead of 250, about as many." in row.sentence


def test_gains_are_of_the_loops_scores_where_images_were_taken_away():
    (row,) = compare(
        [*in_memory("u", [[20, 30, 40]], [60, 90, 85]), *in_memory("random", [[20, 30, 40]], [60, 90, 120])]
    )
    assert {size: round(one.value, 1) for size, one in row.gains.items()} == {60: 0.0, 90: 0.0, 85: 11.7}
