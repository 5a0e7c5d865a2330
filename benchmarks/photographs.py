"""A folder of annotated photographs, and how studies split it."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import read_annotation
from active_learning.dataset.image_folder import find_images, pair_annotations
from active_learning.errors import MaskALError
from active_learning.system.files import copy_atomically
from benchmarks.savings_data import Data

SPLITS_FILE = "splits.json"
TEST_SHARE = 0.25  # of a folder without that file
FEWEST_OBJECTS = 20  # of a class in such a folder; rarer ones are left out
VALIDATION_IMAGES = 50  # in a study, where that leaves TRAINING_SHARE of the training images
TRAINING_SHARE = 2 / 3


@dataclass(frozen=True)
class Splits:
    """Classes, and the images of each split, relative to their folder; each image's annotation is beside it."""

    classes: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    annotations: dict[str, Path]


def read_splits(folder: Path, seed: int = 0) -> Splits:
    """As `splits.json` in the folder has it: `classes`, and the stems of the images of `train`, `val` and `test`.

    Without that file the classes are those of FEWEST_OBJECTS, and a TEST_SHARE of the images, chosen by the seed, is
    the test; the others are to train on, in random order.

    Raises:
        MaskALError: there is no annotated image, or splits.json lacks something or cannot be read.
    """
    annotations = pair_annotations(folder, find_images(folder))
    if not annotations:
        raise MaskALError(f"{folder}: no image with an annotation beside it")
    path = folder / SPLITS_FILE
    return _by_file(path, annotations) if path.is_file() else _by_chance(folder, annotations, seed)


def _by_file(path: Path, annotations: dict[str, Path]) -> Splits:
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MaskALError(f"{path}: cannot be read as json: {error}") from None
    if missing := [key for key in ("classes", "train", "test") if key not in splits]:
        raise MaskALError(
            f"{path}: has no {', '.join(missing)}; it names classes, and the stems of train, val and test"
        )
    by_stem: dict[str, list[str]] = {}
    for image in annotations:
        by_stem.setdefault(Path(image).stem, []).append(image)
    named: Counter[str] = Counter()
    images: dict[str, tuple[str, ...]] = {}
    for split in ("train", "val", "test"):
        stems = splits.get(split, [])
        named.update(stems)
        for stem in stems:
            if (count := len(by_stem.get(stem, ()))) != 1:
                raise MaskALError(f"{path}: {stem} (in {split}): {count or 'no'} annotated images have that name")
            if named[stem] > 1:
                raise MaskALError(f"{path}: names {stem} more than once; each image is in one split")
        images[split] = tuple(by_stem[stem][0] for stem in stems)
    return Splits(tuple(splits["classes"]), **images, annotations=annotations)


def _by_chance(folder: Path, annotations: dict[str, Path], seed: int) -> Splits:
    labels: Counter[str] = Counter()
    for image, path in annotations.items():
        labels.update(one.label for one in read_annotation(path, image=image, size=None, within=folder).instances)
    classes = tuple(sorted(label for label, count in labels.items() if count >= FEWEST_OBJECTS))
    if not classes:
        raise MaskALError(f"{folder}: no class has {FEWEST_OBJECTS} objects; {SPLITS_FILE} in it may name classes")
    order = sorted(annotations)
    random.Random(seed).shuffle(order)
    tested = round(TEST_SHARE * len(order))
    return Splits(classes, tuple(order[tested:]), (), tuple(order[:tested]), annotations)


def photographs(source: Path, out: Path) -> Data:
    """Photographs of a folder, copied with their annotations as `read_splits` has them.

    Where `val` has fewer than VALIDATION_IMAGES, the last of `train` are added to it, but TRAINING_SHARE is left.

    Raises:
        MaskALError: as of `read_splits`.
    """
    splits = read_splits(source)
    train = splits.train
    moved = max(0, VALIDATION_IMAGES - len(splits.val))
    kept = max(len(train) - moved, math.ceil(TRAINING_SHARE * len(train)))
    for name, images in (("train", train[:kept]), ("val", (*splits.val, *train[kept:])), ("test", splits.test)):
        _copy(source, images, splits, out / "datasets" / name)
    return Data(source.name, out / "datasets", splits.classes)


def _copy(source: Path, images: Sequence[str], splits: Splits, target: Path) -> None:
    for image in images:
        for path in (source / image, splits.annotations[image]):
            copied = target / path.relative_to(source)
            if not copied.exists():
                copied.parent.mkdir(parents=True, exist_ok=True)
                copy_atomically(path, copied)
