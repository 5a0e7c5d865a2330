"""Corrupts a known share of the objects of an annotated image folder: a test for the label check.

    python benchmarks/corrupt_annotations.py FOLDER OUT --share 0.05 [--kinds swapped deleted] [--seed 0]

copies the images and their annotations, some of them corrupted, as LabelMe files to OUT, which must be new, and lists
what was done in OUT/corruptions.csv: image, kind, number of the object in the new file (-1: deleted), its label before,
and where it is.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.annotations import Annotation, Instance, Part, labelme, read_annotation  # noqa: E402
from active_learning.annotations.annotation import Polygon  # noqa: E402
from active_learning.annotations.contours import clip_polygon, polygon_area  # noqa: E402
from active_learning.dataset.image_folder import find_images, pair_annotations  # noqa: E402
from active_learning.system.files import copy_atomically, csv_text, write_atomically  # noqa: E402

KINDS = ("swapped", "deleted", "shifted", "shrunken", "added")
SHIFT = (0.3, 0.5)  # of the root of the object's area, in a random direction
SHRINK = (0.6, 0.75)  # the factor of its sides
TRIES = 100  # for a place on which no other object stands
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Corruption:
    """`number`: of the object in the corrupted annotation, -1 where it was deleted. x0, y0, x1, y1: where it is."""

    image: str
    kind: str
    number: int
    label: str
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def box(self) -> Box:
        return self.x0, self.y0, self.x1, self.y1


def corrupt(
    annotations: Mapping[str, Annotation], classes: Sequence[str], share: float, kinds: Sequence[str], seed: int
) -> tuple[dict[str, Annotation], list[Corruption]]:
    """The annotations with that share of all their objects corrupted, in equal parts of the kinds, each object once.

    An added object is a copy of another one of the folder, with its label, at a random place where no object stands.
    Objects must be polygons; those of other labels than the classes stay as they are, and are not counted.
    """
    rng = np.random.default_rng(seed)
    places = [
        (name, index)
        for name, one in annotations.items()
        for index, instance in enumerate(one.instances)
        if instance.label in classes
    ]
    order = rng.permutation(len(places))[: round(share * len(places))]
    chosen = {places[place]: kinds[number % len(kinds)] for number, place in enumerate(order)}
    copied = {place: places[rng.integers(len(places))] for place, kind in chosen.items() if kind == "added"}
    corrupted, done = {}, []
    for name, annotation in annotations.items():
        kept: list[Instance] = []
        for index, instance in enumerate(annotation.instances):
            kind, label, changed = chosen.get((name, index), ""), instance.label, instance
            if kind == "swapped":
                others = [other for other in classes if other != label]
                changed = replace(instance, label=others[rng.integers(len(others))])
            elif kind in ("shifted", "shrunken"):
                changed = _moved(instance, annotation, kind, rng)
            if kind != "deleted":
                kept.append(changed)
            if kind and kind != "added":
                done.append(Corruption(name, kind, -1 if kind == "deleted" else len(kept) - 1, label, *_box(changed)))
        for (image, _), (source, index) in copied.items():
            if image == name and (added := _placed(annotations[source].instances[index], annotation, rng)):
                kept.append(added)
                done.append(Corruption(name, "added", len(kept) - 1, added.label, *_box(added)))
        corrupted[name] = replace(annotation, instances=tuple(kept))
    return corrupted, done


def _box(instance: Instance) -> Box:
    points = np.concatenate([part.exterior for part in instance.parts])
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _moved(instance: Instance, annotation: Annotation, kind: str, rng: np.random.Generator) -> Instance:
    """Shifted, or shrunken about the middle of its box; clipped to the image."""
    x0, y0, x1, y1 = _box(instance)
    if kind == "shrunken":
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        factor = rng.uniform(*SHRINK)
        return _mapped(instance, annotation, lambda points: middle + factor * (points - middle))
    area = sum(polygon_area(part.exterior) for part in instance.parts)
    angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(*SHIFT) * math.sqrt(area)
    way = np.array([math.cos(angle), math.sin(angle)]) * length
    moved = _mapped(instance, annotation, lambda points: points + way)
    return moved if moved.parts else _mapped(instance, annotation, lambda points: points - way)


def _mapped(instance: Instance, annotation: Annotation, mapping: Callable[[Polygon], Polygon]) -> Instance:
    outlines = [clip_polygon(mapping(part.exterior), annotation.height, annotation.width) for part in instance.parts]
    return replace(instance, parts=tuple(Part(one) for one in outlines if len(one) >= 3 and polygon_area(one) > 1))


def _placed(instance: Instance, annotation: Annotation, rng: np.random.Generator) -> Instance | None:
    """None where there is no room."""
    x0, y0, x1, y1 = _box(instance)
    room_x, room_y = annotation.width - (x1 - x0), annotation.height - (y1 - y0)
    boxes = [_box(one) for one in annotation.instances]
    for _ in range(TRIES if min(room_x, room_y) > 0 else 0):
        corner = np.array([rng.uniform(0, room_x), rng.uniform(0, room_y)])
        far_corner = corner + (x1 - x0, y1 - y0)
        if not any(_overlap((*corner, *far_corner), box) for box in boxes):
            return _mapped(instance, annotation, partial(np.add, corner - (x0, y0)))
    return None


def _overlap(one: Box, other: Box) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def read_folder(folder: Path) -> dict[str, Annotation]:
    """The annotations of all annotated images, by their names."""
    pairs = pair_annotations(folder, find_images(folder))
    return {name: read_annotation(path, image=name, size=None) for name, path in pairs.items()}


def write_folder(source: Path, out: Path, annotations: Mapping[str, Annotation]) -> None:
    for name, annotation in annotations.items():
        copy_atomically(source / name, out / name)
        labelme.write(replace(annotation, extra={}), (out / name).with_suffix(".json"))


def corruptions_csv(done: Sequence[Corruption]) -> str:
    return csv_text([[field.name for field in fields(Corruption)], *map(astuple, done)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of all objects (default 0.05)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.out.exists():
        parser.error(f"{given.out}: is there already; give the path of a new folder")
    annotations = read_folder(given.folder)
    classes = sorted({one.label for annotation in annotations.values() for one in annotation.instances})
    corrupted, done = corrupt(annotations, classes, given.share, given.kinds, given.seed)
    write_folder(given.folder, given.out, corrupted)
    write_atomically(given.out / "corruptions.csv", corruptions_csv(done))
    print(f"{len(done)} objects corrupted in {given.out}")


if __name__ == "__main__":
    main()
