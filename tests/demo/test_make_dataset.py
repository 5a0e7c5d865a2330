"""The demo data set: the same bytes for the same seed, true annotations, the class shares that were asked for."""

from __future__ import annotations

import argparse
import csv
import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from active_learning.annotations import Annotation, check_labels, read_annotation
from demo import make_dataset
from demo.heads import CLASSES
from demo.make_dataset import HEADS_AN_IMAGE, MARKER, NEAR_DUPLICATES, SHARES, SPLITS, Order, main, plan

DEFAULTS = Order(train=160, val=20, test=40, seed=0, width=320, height=240)
DEFAULT_IMAGES = {  # name: digests of image and annotation, mean colour (BGR)
    "train_0000": ("1fb46615c4d12aeb", "3af3b76d4a9a3a45", (66.8, 91.4, 110.5)),
    "train_0001": ("2692e73117b2484f", "d07995f8f26bb2ad", (103.3, 128.5, 129.8)),
    "val_0000": ("3ac3f56b6e9f95c3", "c90ded2cf1dff5f6", (96.1, 126.6, 136.4)),
    "test_0000": ("b9f887cdf6bbd9e8", "35dbefbd64b2b705", (78.3, 102.3, 105.0)),
    "test_0039": ("cf80d3f834444682", "50fdc71975c70567", (96.6, 132.3, 145.6)),
}
DIGESTED_WITH = ("5.0.0", "SSE SSE2 SSE3 *SSE4.1 *SSE4.2 *AVX *FP16 *AVX2 *AVX512-SKX")  # OpenCV and its instructions


@pytest.fixture(scope="module")
def default_images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A few images of the data set of `make demo`."""
    folder = tmp_path_factory.mktemp("default")
    for split in SPLITS:
        (folder / split).mkdir()
    tasks = [
        task for split in SPLITS for task in plan(folder, DEFAULTS, split) if task.original.image.stem in DEFAULT_IMAGES
    ]
    for task in tasks:
        make_dataset.draw(task)
    return [task.original.image for task in tasks]


def test_the_default_images_stay_as_they_are(default_images: list[Path]) -> None:
    """Within what another build of OpenCV rounds differently."""
    assert [image.stem for image in default_images] == list(DEFAULT_IMAGES)
    for image in default_images:
        assert cv2.mean(cv2.imread(str(image)))[:3] == pytest.approx(DEFAULT_IMAGES[image.stem][2], abs=0.2), image


@pytest.mark.skipif((cv2.__version__, cv2.getCPUFeaturesLine()) != DIGESTED_WITH, reason="OpenCV rounds differently")
def test_the_default_images_and_annotations_stay_the_same_to_the_byte(default_images: list[Path]) -> None:
    for image in default_images:
        files = (image, image.with_suffix(".json"))
        digests = tuple(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files)
        assert digests == DEFAULT_IMAGES[image.stem][:2], image


def annotations(folder: Path) -> list[Annotation]:
    sizes = {path: cv2.imread(str(path)).shape[:2] for path in sorted(folder.rglob("*.jpg"))}
    return [
        read_annotation(path.with_suffix(".json"), image=path.name, size=(height, width))
        for path, (height, width) in sizes.items()
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "datasets"
    order = Order(train=16, val=2, test=3, seed=0, width=200, height=160)
    make_dataset.make_dataset(folder, order)
    return folder


def test_every_split_has_its_images_with_annotations_beside_them(dataset: Path) -> None:
    found = {split: sorted(path.name for path in (dataset / split).iterdir()) for split in SPLITS}
    assert [len(found[split]) for split in SPLITS] == [32, 4, 6]
    assert found["val"] == ["val_0000.jpg", "val_0000.json", "val_0001.jpg", "val_0001.json"]


REPEATING = Order(
    *(24, 2, 3, 0, 200, 160), class_shares=(60.0, 20.0, 12.0, 6.0, 2.0), near_duplicates=0.5
)  # 12 of 24 images show a scene again


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeating") / "datasets"
    make_dataset.make_dataset(folder, REPEATING)
    return folder


def test_same_order_same_bytes_with_one_and_two_processes(repeating: Path, tmp_path: Path) -> None:
    make_dataset.make_dataset(tmp_path / "again", REPEATING, workers=2)
    assert files(tmp_path / "again") == files(repeating)


def test_another_seed_draws_other_images(dataset: Path, tmp_path: Path) -> None:
    make_dataset.make_dataset(tmp_path / "other", Order(1, 1, 1, seed=1, width=200, height=160))
    image = "train/train_0000.jpg"
    assert (tmp_path / "other" / image).read_bytes() != (dataset / image).read_bytes()


def test_annotations_are_valid_and_inside_their_images(dataset: Path) -> None:
    read = annotations(dataset)
    assert len(read) == 21
    for annotation in read:
        check_labels(annotation, CLASSES, "error", dataset)
        assert annotation.instances
        assert not annotation.warnings
        assert (annotation.height, annotation.width) == (160, 200)
        for instance in annotation.instances:
            points = np.concatenate([part.exterior for part in instance.parts])
            assert points.min() >= 0 and (points.max(axis=0) <= [200, 160]).all()


def test_some_heads_are_in_two_parts_and_have_their_own_group(dataset: Path) -> None:
    in_parts = [i for annotation in annotations(dataset) for i in annotation.instances if len(i.parts) > 1]
    shapes = [
        shape
        for path in sorted((dataset / "train").glob("*.json"))
        for shape in json.loads(path.read_text(encoding="utf-8"))["shapes"]
    ]
    grouped = [shape for shape in shapes if shape["group_id"] is not None]
    assert in_parts
    assert len(shapes) > len(grouped) >= 4


def test_class_shares_of_the_plan_are_those_asked_for(tmp_path: Path) -> None:
    tasks = plan(tmp_path, Order(200, 0, 0, seed=5, width=320, height=240), "train")
    counts = Counter(label for task in tasks for label in task.labels)
    total = sum(counts.values())
    assert all(abs(100 * counts[name] / total - share) < 1 for name, share in SHARES.items())
    heads = Counter(len(task.labels) for task in tasks)
    assert {count: 100 * number / 200 for count, number in heads.items()} == HEADS_AN_IMAGE


@pytest.mark.parametrize("weights", [(60, 20, 12, 6, 2), (1, 1, 1, 1, 0), (0, 0, 0, 0, 0.5)], ids=str)
def test_class_shares_can_be_chosen(weights: tuple[float, ...], tmp_path: Path) -> None:
    order = Order(1000, 300, 0, seed=3, width=128, height=128, class_shares=weights)
    for split in ("train", "val"):
        counts = Counter(label for task in plan(tmp_path, order, split) for label in task.labels)
        total = sum(counts.values())
        assert all(
            abs(counts[name] / total - weight / sum(weights)) <= 1.001 / total
            for name, weight in zip(CLASSES, weights, strict=True)
        )


def test_class_shares_stay_within_binomial_bounds_where_scenes_repeat(tmp_path: Path) -> None:
    shares = np.array([0.60, 0.20, 0.12, 0.06, 0.02])
    order = Order(1000, 0, 0, seed=3, width=128, height=128, class_shares=tuple(shares), near_duplicates=0.3)
    tasks = plan(tmp_path, order, "train")
    counts = Counter(label for task in tasks for label in task.labels * len(task.shots))
    total, scenes = sum(counts.values()), sum(len(task.labels) for task in tasks)
    found = np.array([counts[name] for name in CLASSES]) / total
    assert (abs(found - shares) < 3 * np.sqrt(shares * (1 - shares) / scenes)).all()


def originals(folder: Path) -> dict[str, str]:
    with (folder / NEAR_DUPLICATES).open(encoding="utf-8", newline="") as file:
        return {row["image"]: row["original"] for row in csv.DictReader(file)}


def test_near_duplicates_are_listed_beside_the_folders(dataset: Path, repeating: Path) -> None:
    listed = originals(repeating)
    names = {path.name for path in (repeating / "train").glob("*.jpg")}
    assert len(names) == 24 and len(listed) == 12
    assert set(listed) | set(listed.values()) <= names
    assert not set(listed) & set(listed.values())
    assert not (dataset / NEAR_DUPLICATES).exists()


@pytest.mark.parametrize(("share", "scenes"), [(0, 10), (0.25, 8), (1, 1)], ids=str)
def test_a_share_of_the_training_images_repeats(share: float, scenes: int, tmp_path: Path) -> None:
    order = Order(10, 10, 10, seed=0, width=128, height=128, near_duplicates=share)
    tasks = plan(tmp_path, order, "train")
    shots = [shot for task in tasks for shot in task.shots]
    assert len(tasks) == scenes
    assert sorted(shot.image.name for shot in shots) == [f"train_{index:04d}.jpg" for index in range(10)]
    assert len({shot.stream for shot in shots}) == 10
    assert [len(plan(tmp_path, order, split)) for split in ("val", "test")] == [10, 10]


def covered(annotation: Annotation, moved: np.ndarray) -> np.ndarray:
    """The pixels of all heads, after a 2x3 matrix."""
    mask = np.zeros((annotation.height, annotation.width), np.uint8)
    for instance in annotation.instances:
        for part in instance.parts:
            points = cv2.transform((part.exterior - 0.5)[:, None].astype(np.float64), moved)
            cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    return mask.astype(bool)


def test_annotations_of_near_duplicates_follow_their_pixels(repeating: Path) -> None:
    """The movement is found from the pixels alone; it takes the original's annotation to that of the near-duplicate."""
    read = {annotation.image: annotation for annotation in annotations(repeating / "train")}
    still = np.eye(2, 3, dtype=np.float32)
    for image, original in originals(repeating).items():
        first, again = (cv2.imread(str(repeating / "train" / name)) for name in (original, image))
        grey, grey_again = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in (first, again))
        alike, moved = cv2.findTransformECC(grey, grey_again, still.copy(), cv2.MOTION_AFFINE)
        ours, theirs = covered(read[original], moved.astype(np.float64)), covered(read[image], still.astype(np.float64))
        assert alike > 0.8
        assert (ours & theirs).sum() > 0.95 * (ours | theirs).sum(), image
        assert 0.89 < np.sqrt(np.linalg.det(moved[:, :2])) < 1.11
        middle = np.array([100, 80, 1])
        assert (abs(moved @ middle - middle[:2]) < [0.022 * 200, 0.022 * 160]).all()


def test_every_class_is_in_the_demos_validation_and_test_images(tmp_path: Path) -> None:
    for split in ("val", "test"):
        assert {label for task in plan(tmp_path, DEFAULTS, split) for label in task.labels} == set(CLASSES)


def test_a_made_data_set_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path / "d"), "--images", "1", "--val", "1", "--test", "1", "--size", "80x64"])
    (tmp_path / "d/train/mine.json").write_text("{}", encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    main(["--out", str(tmp_path / "d"), "--images", "1", "--val", "1", "--test", "1", "--size", "80x64"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    assert "already" in capsys.readouterr().out


def test_data_of_other_options_are_not_taken_for_made_but_those_of_before_are(tmp_path: Path) -> None:
    before = {"train": 1, "val": 1, "test": 1, "seed": 0, "width": 80, "height": 64, "drawing": make_dataset.DRAWING}
    (tmp_path / MARKER).write_text(json.dumps(before), encoding="utf-8")
    plain = Order(1, 1, 1, seed=0, width=80, height=64)
    assert make_dataset._is_made(tmp_path, plain)
    for change in ({"class_shares": (1.0, 1.0, 1.0, 1.0, 1.0)}, {"near_duplicates": 0.1}):
        other = replace(plain, **change)
        assert not make_dataset._is_made(tmp_path, other)
        (tmp_path / MARKER).write_text(other.marker, encoding="utf-8")
        assert make_dataset._is_made(tmp_path, other) and not make_dataset._is_made(tmp_path, plain)


SMALL = ("--images", "1", "--val", "1", "--test", "1", "--size", "80x64")
NOT_OURS = {
    "a folder of photos": lambda place: (place.mkdir(), (place / "IMG_1.jpg").write_text("mine")),
    "a file": lambda place: place.write_text("mine"),
    "a link to a folder": lambda place: (place.with_name("real").mkdir(), place.symlink_to("real"),
                                         (place / "IMG_1.jpg").write_text("mine")),
    "a link to nowhere": lambda place: place.symlink_to("nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("make", NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_no_demo_data_set_stays(tmp_path: Path, make: Callable[[Path], object], capsys) -> None:
    make(tmp_path / "d")
    before = sorted(tmp_path.rglob("*"))
    assert main(["--out", str(tmp_path / "d"), *SMALL]) == 2
    assert "holds what is no demo data set; give the path of a new folder" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folder_in_which_one_is_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--out", ".", *SMALL]) == 0
    (tmp_path / MARKER).write_text("{damaged", encoding="utf-8")
    assert main(["--out", ".", *SMALL]) == 0
    assert len(list(tmp_path.parent.glob(f"{tmp_path.name}*"))) == 2
    assert "damaged" not in (tmp_path.parent / tmp_path.name / MARKER).read_text(encoding="utf-8")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["--out", str(tmp_path / "d"), *SMALL]) == 1
    assert f"{tmp_path / 'd' / MARKER}: No space left on device; free some space" in capsys.readouterr().err


def test_other_data_are_moved_aside_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/mine.json").write_text("{}", encoding="utf-8")
    (tmp_path / "d" / MARKER).write_text("{}", encoding="utf-8")
    main(["--out", str(tmp_path / "d"), "--images", "1", "--val", "1", "--test", "1", "--size", "80x64"])
    kept = [path.read_text(encoding="utf-8") for path in tmp_path.glob("d.bak-*/mine.json")]
    assert kept == ["{}"]
    assert (tmp_path / "d" / MARKER).is_file() and not (tmp_path / "d/mine.json").exists()


@pytest.mark.parametrize("text", ["320y", "320x", "axb", "10x10", "1x2x3"], ids=str)
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        make_dataset._size(text)


def test_a_single_size_is_the_side_of_a_square() -> None:
    assert make_dataset._size("128") == (128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--class-shares 1 2 3", "give 5 numbers, not all 0: for healthy, damaged, matured, cateye, headrot"),
        ("--class-shares 1 2 3 4 5 6", "give 5 numbers"),
        ("--class-shares 0 0 0 0 0", "give 5 numbers, not all 0"),
        ("--class-shares 1 2 3 4 -5", "'-5' is not between 0 and 1,000,000"),
        ("--class-shares 1 2 3 4 inf", "'inf' is not between"),
        ("--class-shares 1 2 3 4 many", "'many' is no number"),
        ("--images -5", "'-5' is not between 0 and 1,000,000"),
        ("--val 1.5", "'1.5' is no whole number"),
        ("--seed -1", "'-1' is not between 0 and 4,294,967,295"),
        ("--near-duplicates 1.1", "'1.1' is not between 0 and 1"),
        ("--near-duplicates nan", "'nan' is not between 0 and 1"),
    ],
    ids=lambda text: text if text.startswith("--") else "",
)
def test_wrong_options_are_refused(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "d"), *options.split()])
    error = capsys.readouterr().err
    assert f"argument {options.split()[0]}: " in error and message in error
    assert not (tmp_path / "d").exists()


def test_the_demos_settings_name_the_classes_and_folders_that_are_drawn(project_root: Path) -> None:
    settings = yaml.safe_load((project_root / "demo/demo.yaml").read_text(encoding="utf-8"))
    assert settings["classes"] == list(CLASSES)
    assert [settings[f"{split}dir"] for split in SPLITS] == [f"demo/run/datasets/{split}" for split in SPLITS]
    assert set(settings["minority_classes"]) < set(CLASSES)
