"""The pictures of a study: drawn ones, or a folder of photographs with annotations.

N: objects of a picture. Boxes are x0, y0, x1, y1 in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.annotations import Instance, read_annotation
from active_learning.dataset.image_folder import pair_annotations
from active_learning.dataset.near_duplicates import files_digest
from active_learning.errors import MaskALError
from benchmarks.photographs import read_splits
from demo.heads import CLASSES
from demo.make_dataset import Order, Task, plan
from demo.scene import draw_scene

DRAWN_SHARES = (60, 20, 12, 6, 2)  # percent, of the classes in the order of demo.heads.CLASSES
DRAWN_SIZE = 192, 144  # width, height


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture (H, W, 3) uint8 RGB, boxes (N, 4) of its objects and the numbers (N,) of their classes."""

    name: str
    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Names of the pictures of pool and test, and where they come from: a folder, or an order to draw them."""

    classes: tuple[str, ...]
    pool: tuple[str, ...]
    test: tuple[str, ...]
    folder: Path | None = None
    content: str = ""  # of a folder: a digest of its images and annotations, by their sizes and times
    order: Order | None = None

    def pictures(self) -> Iterator[Picture]:
        """Those of the pool, then those of the test."""
        if self.order is not None:
            return _drawn(self.order)
        assert self.folder is not None
        return _read(self.folder, (*self.pool, *self.test), self.classes)


def drawn(pool: int, test: int, seed: int, shares: Sequence[int] = DRAWN_SHARES) -> Source:
    """So many pictures of heads, with these shares of each class in percent."""
    order = Order(pool, 0, test, seed, *DRAWN_SIZE, class_shares=tuple(shares))
    names = {split: tuple(_name(task) for task in plan(Path(), order, split)) for split in ("train", "test")}
    return Source(CLASSES, names["train"], names["test"], order=order)


def _drawn(order: Order) -> Iterator[Picture]:
    for task in (*plan(Path(), order, "train"), *plan(Path(), order, "test")):
        rng = np.random.default_rng(task.original.stream)
        scene = draw_scene(rng, list(task.labels), task.height, task.width)
        boxes = [_box(np.concatenate(head.parts)) for head in scene.heads]
        yield _picture(_name(task), scene.picture, boxes, [CLASSES.index(head.label) for head in scene.heads])


def _name(task: Task) -> str:
    return task.original.image.name


def _picture(name: str, bgr: npt.NDArray[Any], boxes: list[list[float]], labels: list[int]) -> Picture:
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    return Picture(name, rgb, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(labels, dtype=np.int64))


def _box(points: npt.NDArray[np.float64]) -> list[float]:
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def folder_of_images(folder: Path, seed: int) -> Source:
    """Annotated images of a folder, split as `read_splits` has it; `train` and `val` are the pool: the laboratory stops
    no training early.

    Raises:
        MaskALError: as of `read_splits`.
    """
    splits = read_splits(folder, seed)
    files = [*splits.annotations, *(path.relative_to(folder).as_posix() for path in splits.annotations.values())]
    pool, test = sorted((*splits.train, *splits.val)), sorted(splits.test)
    return Source(splits.classes, tuple(pool), tuple(test), folder, content=files_digest(folder, sorted(files)))


def _instances(folder: Path, names: Sequence[str]) -> Iterator[tuple[Instance, ...]]:
    paths = pair_annotations(folder, names)
    return (read_annotation(paths[name], image=name, size=None, within=folder).instances for name in names)


def _read(folder: Path, names: Sequence[str], classes: Sequence[str]) -> Iterator[Picture]:
    for name, instances in zip(names, _instances(folder, names), strict=True):
        pixels = cv2.imread(str(folder / name))
        if pixels is None:
            raise MaskALError(f"{folder / name}: cannot be read as an image")
        known = [one for one in instances if one.label in classes]
        yield _picture(name, pixels, [_bounds(one) for one in known], [classes.index(one.label) for one in known])


def _bounds(instance: Instance) -> list[float]:
    if instance.bitmap is None:
        return _box(np.concatenate([part.exterior for part in instance.parts]))
    rows, columns = np.nonzero(instance.bitmap.mask)
    x, y = instance.bitmap.x, instance.bitmap.y
    return [float(x + columns.min()), float(y + rows.min()), float(x + columns.max() + 1), float(y + rows.max() + 1)]
