"""A folder of annotated photographs, split for studies by its file or by chance."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.annotations import Annotation, labelme
from active_learning.errors import MaskALError
from benchmarks import photographs as module
from benchmarks.photographs import photographs, read_splits
from benchmarks.savings_data import annotated_objects
from tests.benchmarks.annotated import annotated_image

SPLITS = ("train", "val", "test")


def write_splits(folder: Path, **splits: list[str]) -> None:
    (folder / "splits.json").write_text(json.dumps(splits))


def images_of(folder: Path) -> dict[str, list[str]]:
    return {split: sorted(path.name for path in (folder / split).rglob("*.jpg")) for split in SPLITS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a to h in two folders; a class of eight objects, and one of a single object."""
    for stem in "abcdefgh":
        labels = ("common", "rare") if stem == "a" else ("common",)
        annotated_image(tmp_path / "photos" / ("first" if stem < "e" else "second") / f"{stem}.jpg", *labels)
    return tmp_path / "photos"


def test_they_are_split_as_their_file_has_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION_IMAGES", 2)
    write_splits(folder, classes=["rare", "common"], train=["a", "b", "f"], val=["d"], test=["e"])
    data = photographs(folder, tmp_path / "out")
    assert images_of(data.folder) == {"train": ["a.jpg", "b.jpg"], "val": ["d.jpg", "f.jpg"], "test": ["e.jpg"]}
    assert annotated_objects(data, "train") == {"rare": 1, "common": 2}
    assert (data.name, data.classes) == ("photos", ("rare", "common"))


def test_without_a_file_a_quarter_is_the_test(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEWEST_OBJECTS", 2)
    splits = read_splits(folder)
    assert splits.classes == ("common",)
    assert [len(splits.train), len(splits.val), len(splits.test)] == [6, 0, 2]
    assert sorted((*splits.train, *splits.test)) == sorted(splits.annotations)
    assert read_splits(folder) == splits
    assert len({read_splits(folder, seed).test for seed in range(9)}) > 1
    found = images_of(photographs(folder, tmp_path / "out").folder)
    assert {split: len(images) for split, images in found.items()} == {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("train", "val", "kept", "moved"),
    [(146, 33, 129, 17), (146, 50, 146, 0), (40, 0, 27, 13), (9, 0, 6, 3), (1, 0, 1, 0)],
)
def test_few_photographs_keep_most_to_train_on(tmp_path: Path, train: int, val: int, kept: int, moved: int) -> None:
    stems = [f"{number:03}" for number in range(train + val + 1)]
    for stem in stems:
        (tmp_path / f"{stem}.jpg").touch()
        labelme.write(Annotation(f"{stem}.jpg", 32, 32, ()), tmp_path / f"{stem}.json")
    write_splits(tmp_path, classes=["a"], train=stems[:train], val=stems[train:-1], test=stems[-1:])
    found = images_of(photographs(tmp_path, tmp_path / "out").folder)
    assert (len(found["train"]), len(found["val"])) == (kept, val + moved)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, "splits.json: has no classes, train, test"),
        ({"classes": ["a"], "train": ["a"]}, "splits.json: has no test"),
        ({"classes": ["a"], "train": ["a", "99"], "test": ["b"]}, r"splits.json: 99 \(in train\): no annotated images"),
        ({"classes": ["a"], "train": ["a"], "test": ["z"]}, r"splits.json: z \(in test\): no annotated images"),
        ({"classes": ["a"], "train": ["a"], "test": ["twice"]}, r"twice \(in test\): 2 annotated images"),
        ({"classes": ["a"], "train": ["a", "b"], "test": ["b"]}, "names b more than once"),
        (None, "no class has 20 objects; splits.json in it may name classes"),
    ],
)
def test_what_they_lack_is_said(folder: Path, splits: dict[str, list[str]] | None, message: str) -> None:
    annotated_image(folder / "first" / "twice.jpg", "common")
    annotated_image(folder / "second" / "twice.jpg", "common")
    cv2.imwrite(str(folder / "z.jpg"), np.zeros((32, 32, 3), np.uint8))
    if splits is not None:
        write_splits(folder, **splits)
    with pytest.raises(MaskALError, match=message):
        read_splits(folder)


def test_a_file_that_is_no_json_is_said(folder: Path) -> None:
    (folder / "splits.json").write_text("{")
    with pytest.raises(MaskALError, match="splits.json: cannot be read as json"):
        read_splits(folder)


def test_a_folder_without_an_annotation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskALError, match="no image with an annotation beside it"):
        read_splits(tmp_path)
