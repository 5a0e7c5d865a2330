"""The laboratory in small form: on made-up features, and from end to end on a few drawn pictures."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.annotations import Annotation, Instance, Part, labelme
from active_learning.errors import MaskALError
from active_learning.report.curves import Curve
from benchmarks.gains import RANDOM_SAMPLES, Run, holm, read_pairs, read_rows, runs_of, sign_flip_p, table
from benchmarks.strategy_lab import judge as judging
from benchmarks.strategy_lab.__main__ import main
from benchmarks.strategy_lab.average_precision import average_precisions
from benchmarks.strategy_lab.features import BACKGROUND_IOU, COPIES, Features, compute, kept_features, load
from benchmarks.strategy_lab.judge import BOUND, Study, initial_images, judge, run_one
from benchmarks.strategy_lab.learner import Training, forward_passes, pool_records, predict, train
from benchmarks.strategy_lab.pictures import drawn, folder_of_images

FAST = Training(hidden=32, steps=60, batch=64, passes=4)
CLASSES = ("common", "rare")
POOL, TEST, RARE_EVERY = 60, 40, 10


def made_up() -> Features:
    """Pictures of one object and one background box each; every tenth object is of the rare class, a cluster apart."""
    rng = np.random.default_rng(0)
    count = POOL + TEST
    rare = np.arange(count) % RARE_EVERY == 0
    label = np.stack([rare.astype(np.int64), np.full(count, len(CLASSES))], axis=1).ravel()
    centres = rng.normal(0, 1, (3, 16))
    return Features(
        names=np.array([f"{number:03d}.jpg" for number in range(count)]),
        classes=np.array(CLASSES),
        pool_size=np.array(POOL),
        features=(centres[label] + rng.normal(0, 1.2, (len(label), 16))).astype(np.float32),
        image_features=rng.normal(0, 1, (count, 4)).astype(np.float32),
        picture=np.repeat(np.arange(count), 2),
        label=label,
        object=np.stack([np.arange(count), np.full(count, -1)], axis=1).ravel(),
        copy=np.zeros(2 * count, dtype=bool),
        boxes=np.tile(np.array([[0, 0, 8, 8], [20, 20, 28, 28]], dtype=np.float32), (count, 1)),
        sizes=np.full((count, 2), 32),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("lab") / "features.npz"
    np.savez(path, **{name: value for name, value in asdict(made_up()).items() if isinstance(value, np.ndarray)})
    return Study(path, initial=6, pool_size=6, loops=2, training=FAST)


STRATEGIES = ["balanced_uncertainty", BOUND]


@pytest.fixture(scope="module")
def results(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    judge(study, runs_of(STRATEGIES, range(4)), path)
    return path


def test_each_run_has_a_line_a_loop(results: Path) -> None:
    rows = read_rows(results)
    expected = {(run.strategy, str(run.seed), str(run.sample)) for run in runs_of(STRATEGIES, range(4))}
    assert len(expected) == 4 * (RANDOM_SAMPLES + len(STRATEGIES))
    for run in expected:
        own = [row for row in rows if (row["strategy"], row["seed"], row["sample"]) == run]
        assert [row["images"] for row in own] == ["6", "12", "18"], run


def test_what_is_judged_already_is_not_repeated(
    study: Study, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = results.read_text(encoding="utf-8")
    stopped = tmp_path / "runs.csv"
    stopped.write_text(
        "".join(whole.splitlines(keepends=True)[: 1 + 3 * 4]), encoding="utf-8"
    )  # four runs of three lines
    repeated: list[Run] = []
    monkeypatch.setattr(judging, "run_one", lambda study, run: repeated.append(run) or run_one(study, run))
    judge(study, runs_of(STRATEGIES, range(4)), stopped)
    assert repeated == runs_of(STRATEGIES, range(4))[4:]
    assert [{**row, "seconds": ""} for row in read_rows(stopped)] == [
        {**row, "seconds": ""} for row in read_rows(results)
    ]


def test_runs_of_a_seed_start_alike_and_seeds_do_not(results: Path) -> None:
    first = {(row["seed"], row["mAP"], row["objects"]) for row in read_rows(results) if row["images"] == "6"}
    assert len(first) == 4


def test_a_start_without_a_class_holds_none_of_it(study: Study) -> None:
    features = load(study.features)
    usual, without = (initial_images(features, replace(study, absent=absent), seed=4) for absent in (0, 1))
    assert features.counts[usual, 1].any(), "the seed's usual start would do"
    assert len(without) == study.initial
    assert not features.counts[without, 1].any()
    with pytest.raises(MaskALError, match=r"--initial 55: 54 images of the pool are without rare; lower it"):
        initial_images(features, replace(study, initial=55, absent=1), seed=4)


def test_knowing_the_rare_objects_beats_random_on_their_class(results: Path) -> None:
    pair = read_pairs(read_rows(results), ["rare"])[BOUND]
    assert (pair.ours.rarest_ap.mean[1:] > pair.baseline.rarest_ap.mean[1:] + 5).all()


def test_the_table_has_every_strategy_and_budget(results: Path) -> None:
    text = table(read_pairs(read_rows(results), ["rare"]), unjudged=[BOUND])
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert sorted(lines[2:4]) == sorted(STRATEGIES)
    assert lines[6] == "random, mAP"
    assert sorted(lines[7:]) == sorted(STRATEGIES)
    assert all(budget in text for budget in (" 6 ", " 12 ", " 18 "))


def test_unfinished_seeds_are_left_out(results: Path) -> None:
    rows = [row for row in read_rows(results) if not (row["seed"] == "3" and row["strategy"] == BOUND)]
    found = read_pairs(rows, ["rare"])
    seeds = {name: (one.ours.mean_ap.seeds, one.baseline.mean_ap.seeds) for name, one in found.items()}
    assert seeds == {BOUND: ((0, 1, 2), (0, 1, 2)), "balanced_uncertainty": ((0, 1, 2, 3), (0, 1, 2, 3))}
    with pytest.raises(ValueError, match="no seed is finished"):
        table(read_pairs([row for row in rows if row["sample"] != "1"], ["rare"]))


def test_records_hold_what_the_passes_saw() -> None:
    features = made_up()
    model = train(features, range(POOL), FAST, seed=0)
    rows = features.rows(range(POOL))
    found = forward_passes(model, features, rows, passes=4, seed=0)
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found, forward_passes(model, features, rows, passes=4, seed=0))
    records = pool_records(features, range(POOL), found, 0.5, "mean")
    for picture, record in enumerate(records.values()):
        above = (found[:, 2 * picture : 2 * picture + 2, :-1].max(axis=2) > 0.5).sum(axis=0)
        assert [one.size for one in record.objects] == [size for size in above if size]
        assert [one.occurrence for one in record.objects] == [size / 4 for size in above if size]
        assert all(one.certainty == pytest.approx(one.semantic * one.occurrence) for one in record.objects)
        assert math.isnan(record.value) == (not record.objects)


def test_the_classifier_learns_and_predicts_the_same_again() -> None:
    features = made_up()
    rows = features.rows(range(POOL, POOL + TEST))
    first, again = (predict(train(features, range(POOL), FAST, seed=3), features, rows) for _ in range(2))
    assert np.array_equal(first, again)
    assert (first.argmax(axis=1) == features.label[rows]).mean() > 0.85


@pytest.mark.parametrize(
    ("scores", "labels", "objects", "expected"),
    [
        pytest.param([0.9, 0.8], [0, 0], [0, 1], 100.0, id="all right"),
        pytest.param([0.8, 0.9], [0, 1], [0, -1], 50.0, id="background first"),
        pytest.param([0.9, 0.8], [0, 1], [0, -1], 100.0, id="background last"),
        pytest.param([0.9, 0.8, 0.7], [0, 0, 0], [0, 0, 1], 100 * (51 + 50 * 2 / 3) / 101, id="a duplicate is wrong"),
        pytest.param([0.9, 0.0], [0, 0], [0, 1], 100.0, id="found with a low score"),
    ],
)
def test_average_precision_is_cocos(
    scores: list[float], labels: list[int], objects: list[int], expected: float
) -> None:
    probabilities = np.stack([scores, 1 - np.array(scores)], axis=1)
    assert average_precisions(probabilities, np.array(labels), np.array(objects))[0] == pytest.approx(expected)


def test_a_class_without_objects_has_no_average_precision() -> None:
    assert np.isnan(average_precisions(np.array([[0.2, 0.7, 0.1]]), np.array([0]), np.array([0]))[1])


def test_p_is_of_sign_flips_and_adjusted_after_holm() -> None:
    def curve(last: list[float]) -> Curve:
        return Curve("", np.array([1.0, 2.0]), np.array([[0.0, value] for value in last]), tuple(range(len(last))))

    zero = curve([0.0] * 5)
    assert sign_flip_p(curve([1, 2, 3, 4, 5]), zero) == 2 / 2**5
    assert sign_flip_p(curve([1, -1, 2, -2, 0]), zero) == 1
    assert math.isnan(sign_flip_p(curve([1, math.nan, 2, 3, 4]), zero))
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


@pytest.fixture(scope="module")
def drawn_features() -> Features:
    return compute(drawn(6, 2, seed=0), None)


def test_candidates_of_drawn_pictures(drawn_features: Features) -> None:
    features = drawn_features
    pictures = list(drawn(6, 2, seed=0).pictures())
    assert features.counts.sum() == sum(len(one.boxes) for one in pictures)
    assert features.copy.sum() == COPIES * features.counts.sum()
    assert ((features.label == features.background) == (features.object < 0)).all()
    assert np.isfinite(features.features).all()
    assert features.features[features.picture < 6].mean(axis=0) == pytest.approx(0, abs=1e-4)
    for number, picture in enumerate(pictures):
        own = features.rows([number])
        originals = own[(features.object[own] >= 0) & ~features.copy[own]]
        assert np.array_equal(features.boxes[originals], picture.boxes)
        assert np.array_equal(features.label[originals], picture.labels)
    assert BACKGROUND_IOU < 0.5  # so that no background box is an object


def test_drawn_pictures_have_the_shares_that_were_asked_for() -> None:
    labels = np.concatenate([one.labels for one in drawn(6, 2, 0, (0, 50, 0, 0, 50)).pictures()])
    assert set(labels.tolist()) == {1, 4}


def test_from_pictures_to_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [
        "--images",
        "12",
        "--test",
        "6",
        "--initial",
        "4",
        "--pool-size",
        "4",
        "--loops",
        "1",
        "--seeds",
        "1",
        "--steps",
        "20",
        "--class-shares",
        *("30", "20", "20", "20", "10"),
    ]
    arguments = ["--out", str(tmp_path), "--strategies", "entropy", *sizes]
    main(arguments)
    first = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix != ".md"}
    assert {path.suffix for path in before} == {".npz", ".csv"}
    main(arguments)
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert " entropy |" in first


def test_a_folder_is_split_by_its_file_or_by_chance(tmp_path: Path) -> None:
    square = np.array([[4.0, 4.0], [24.0, 4.0], [24.0, 24.0]])
    for number in range(24):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((40, 48, 3), number, np.uint8))
        objects = (Instance("a", (Part(square),)), Instance("b" if number else "c", (Part(square + 8),)))
        labelme.write(Annotation(path.name, 40, 48, objects), path.with_suffix(".json"))
    by_chance = folder_of_images(tmp_path, seed=0)
    assert by_chance.classes == ("a", "b")
    assert len(by_chance.test) == 6
    assert sorted((*by_chance.pool, *by_chance.test)) == sorted(path.name for path in tmp_path.glob("*.png"))
    (tmp_path / "splits.json").write_text('{"classes": ["b"], "train": ["1"], "val": ["3"], "test": ["0", "2"]}')
    by_file = folder_of_images(tmp_path, seed=0)
    assert (by_file.classes, by_file.pool, by_file.test) == (("b",), ("1.png", "3.png"), ("0.png", "2.png"))
    pictures = list(by_file.pictures())
    assert [one.boxes.tolist() for one in pictures] == [[[12, 12, 32, 32]], [[12, 12, 32, 32]], [], [[12, 12, 32, 32]]]
    found = load(kept_features(by_file, None, tmp_path / "kept"))
    assert found.counts.tolist() == [[1], [1], [0], [1]]


@pytest.mark.parametrize("name", ["3.png", "2.json"], ids=["an image", "an annotation, older than others"])
def test_features_of_a_folder_are_of_what_it_holds_now(tmp_path: Path, name: str) -> None:
    square = np.array([[4.0, 4.0], [24.0, 4.0], [24.0, 24.0]])
    for number in range(24):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((40, 48, 3), number, np.uint8))
        labelme.write(Annotation(path.name, 40, 48, (Instance("a", (Part(square),)),)), path.with_suffix(".json"))
    before = folder_of_images(tmp_path, seed=0)
    assert before == folder_of_images(tmp_path, seed=0)
    replaced = tmp_path / name
    replaced.write_bytes(replaced.read_bytes() + b" ")
    os.utime(replaced, (1, 1))
    assert folder_of_images(tmp_path, seed=0) != before


def test_a_pool_that_is_too_small_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    sizes = ["--images", "30", "--test", "4", "--initial", "10", "--pool-size", "5", "--loops", "5"]
    with pytest.raises(MaskALError, match="take 35 images, and the pool has 30"):
        main(["--out", str(tmp_path), *sizes])
    assert not list(tmp_path.iterdir())
