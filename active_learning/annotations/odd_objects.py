"""Annotated objects that are odd in themselves: drawn twice, tiny, outside the image, or far-apart parts under one id.

No network is needed. How sure a finding is follows from how rare it is among the other objects of the folder: what many
objects have, such as parts far apart behind a stem, is how things look there, and no mistake. Or else a tool has made
one and the same mistake throughout, which is a `Habit` to ask about, once for the folder.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any, Literal, get_args

import cv2
import numpy as np

from active_learning.annotations.annotation import Bitmap, Part
from active_learning.annotations.coco import CocoImage
from active_learning.annotations.contours import crop_bitmap, parts_bitmap
from active_learning.annotations.run_lengths import bitmap_of, decode_runs, runs_of

Oddity = Literal["drawn twice", "tiny", "outside the image", "joined"]
ODDITIES: tuple[Oddity, ...] = get_args(Oddity)
LIKELY = 0.5  # the certainty from which an object is more likely wrong than right
USUAL_RATE = 0.02  # of wrong annotations of a kind
RARE, AS_MANY = 0.005, 100  # the share of right objects that look so, and the number of objects that this counts as
TWICE = 0.7  # IoU of two objects of an image
THIN = 1.0  # pixels of an object's mean width
FEW_SPREADS = 4.0  # so many spreads below its class's median is tiny (spread: of the logarithm of the area)
SMALLEST_SPREAD = 0.25
ENOUGH = 20  # objects of a class for a median
FAR = 1.0  # a gap as wide as the root of the object's area
MOSTLY_OUTSIDE = 0.5  # of the outline's area
OFTEN_TWICE = 0.05  # of the objects: where more than about 0.02 are so near, none of them is LIKELY wrong
OFTEN_JOINED = 0.2  # of the images, as where one of five persons has a tool of his own
FEWEST_JOINED = 3  # images
MOST, NEARLY_ALL = 0.5, 0.8  # of an object's area: in one of its parts
FILLED = 0.95  # of its box, as a rectangle does


@dataclass(frozen=True)
class OddObject:
    """`number`: of the object in its CocoImage. `expected`: what was expected, and what stands there, in a sentence.
    `box`: x0, y0, x1, y1 in pixels."""

    image: str
    number: int
    oddity: Oddity
    expected: str
    box: tuple[float, float, float, float]
    certainty: float


@dataclass(frozen=True)
class Habit:
    """What is odd about many objects of a folder, so that none of them alone is more likely wrong than right: what is
    `seen`, where for example (image, number of the object), and what to ask whoever drew them."""

    seen: str
    example: tuple[str, int]
    question: str


@dataclass(frozen=True)
class _Measured:
    """An object: its box (x0, y0, x1, y1), area and largest gap between its parts, in pixels. `part`: the area that the
    gap is held against where the parts may be objects: of the mean part, or all where one is most of it; infinite where
    the others are specks."""

    image: CocoImage
    number: int
    box: tuple[float, float, float, float]
    area: float
    gap: float
    part: float

    @property
    def label(self) -> str:
        return self.image.labels[self.number]

    @property
    def place(self) -> tuple[str, int]:
        return self.image.name, self.number

    @property
    def width(self) -> float:
        """The mean of a long object."""
        return self.area / max(self.box[2] - self.box[0], self.box[3] - self.box[1], 1e-9)


def odd_objects(images: Iterable[CocoImage]) -> list[OddObject]:
    """Those of all images of a folder, the surest first; one an object, the surest."""
    return odd_objects_and_habits(images)[0]


def odd_objects_and_habits(images: Iterable[CocoImage]) -> tuple[list[OddObject], list[Habit]]:
    """As `odd_objects`, and what is odd about too many objects to be found so."""
    objects: list[_Measured] = []
    twice: list[tuple[_Measured, int, float]] = []
    for image in images:
        own = [_measure(image, number) for number in range(len(image.labels))]
        objects += own
        twice += _drawn_twice(own)
    found = [*_joined(objects), *_tiny(objects), *_outside(objects), *_twice(twice, len(objects))]
    best: dict[tuple[str, int], OddObject] = {}
    for one in sorted(found, key=lambda one: -one.certainty):
        best.setdefault((one.image, one.number), one)
    likely = {place for place, one in best.items() if one.certainty >= LIKELY}
    return list(best.values()), [*_often_twice(twice, len(objects), likely), *_often_joined(objects, likely)]


def _often_twice(
    pairs: Sequence[tuple[_Measured, int, float]], total: int, likely: Set[tuple[str, int]]
) -> Iterator[Habit]:
    """Two classes for each object may be meant so."""
    alike = [one for one, earlier, _ in pairs if one.label == one.image.labels[earlier] and one.place not in likely]
    if alike and len(alike) >= OFTEN_TWICE * total:
        seen = f"{len(alike)} of {total} objects lie on another one of their class"
        yield Habit(
            seen, alike[0].place, "is each drawn twice, as by its outline and its box? Then delete one of the two"
        )


def _often_joined(objects: Iterable[_Measured], likely: Set[tuple[str, int]]) -> Iterator[Habit]:
    """Where a tool gives one id to all objects of an image, there is one object of a class, in many parts. Behind a
    stem, some of several are in parts."""
    groups: dict[tuple[str, str], list[_Measured]] = defaultdict(list)
    for one in objects:
        groups[one.image.name, one.label].append(one)
    spread: dict[str, _Measured] = {}
    for (image, _), same in groups.items():
        apart = [one for one in same if one.gap > FAR * math.sqrt(one.part) and one.place not in likely]
        if 2 * len(apart) > len(same):
            spread.setdefault(image, apart[0])
    total = len({image for image, _ in groups})
    if spread and len(spread) >= max(OFTEN_JOINED * total, FEWEST_JOINED):
        seen = f"in {len(spread)} of {total} images with objects most of a class are in parts far apart"
        question = "are the parts objects of their own with one group_id? Then give each another one, or none"
        yield Habit(seen, next(iter(spread.values())).place, question)


def _certainty(others: int, total: int) -> float:
    """That an object is wrong which looks as `others` of `total` do."""
    share = (others + RARE * AS_MANY) / (total + AS_MANY)
    return USUAL_RATE / (USUAL_RATE + (1 - USUAL_RATE) * share)


def _measure(image: CocoImage, number: int) -> _Measured:
    region = json.loads(image.regions[number])
    (x, y, width, height), area = region["bbox"], region["area"]
    parts = _parts(region, image)
    gap = _largest_gap([box for box, _ in parts])
    areas = [part for _, part in parts]
    largest = max(areas, default=0.0) / max(sum(areas), 1e-9)
    part = math.inf if largest > NEARLY_ALL else area if largest > MOST else area / max(len(areas), 1)
    return _Measured(image, number, (x, y, x + width, y + height), area, gap, part)


def _parts(region: dict[str, Any], image: CocoImage) -> list[tuple[tuple[float, float, float, float], float]]:
    """Box and area of each; none where it is seen at once that they are not far apart."""
    shape = region["segmentation"]
    if isinstance(shape, list):
        several = shape if len(shape) > 1 else []
        return [(_box_of(one), cv2.contourArea(np.array(one, np.float32).reshape(-1, 2))) for one in several]
    if region["area"] > 0.3 * region["bbox"][2] * region["bbox"][3]:
        return []  # parts that are far apart leave most of their common box empty
    mask = region_bitmap(region, image.height, image.width).mask
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [((x, y, x + w, y + h), float(area)) for x, y, w, h, area in stats[1:].tolist()]


def _box_of(points: Sequence[float]) -> tuple[float, float, float, float]:
    xs, ys = points[0::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _largest_gap(boxes: Sequence[tuple[float, float, float, float]]) -> float:
    """The widest of the gaps that must be bridged to join all boxes (Prim 1957)."""
    if len(boxes) < 2:
        return 0.0
    low, high = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]

    def gaps_to(place: int) -> np.ndarray:
        apart = np.maximum(np.maximum(low - high[place], low[place] - high), 0)
        return np.asarray(np.hypot(apart[:, 0], apart[:, 1]))

    nearest, left, widest = gaps_to(0), set(range(1, len(boxes))), 0.0
    while left:
        place = min(left, key=lambda one: nearest[one])
        widest = max(widest, float(nearest[place]))
        left.remove(place)
        nearest = np.minimum(nearest, gaps_to(place))
    return widest


def region_bitmap(region: dict[str, Any], height: int, width: int) -> Bitmap:
    """The pixels of a region of a CocoImage, as a crop."""
    shape = region["segmentation"]
    if isinstance(shape, dict):
        return crop_bitmap(bitmap_of(decode_runs(shape["counts"]), *shape["size"]), height, width)
    parts = [Part(np.array(points, dtype=np.float64).reshape(-1, 2)) for points in shape]
    return crop_bitmap(parts_bitmap(parts, height, width), height, width)


def _drawn_twice(objects: Sequence[_Measured]) -> Iterator[tuple[_Measured, int, float]]:
    """An object, the number of an earlier one that it covers, of its class if there is such, and their IoU. A rectangle
    is also drawn about an object again that fills little of it."""
    if len(objects) < 2:
        return
    boxes, areas = np.array([one.box for one in objects]), np.array([one.area for one in objects])
    filled = areas >= FILLED * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    borders = cache(lambda place: _borders(objects[place]))
    for later in range(1, len(objects)):
        shared = np.minimum(boxes[:later, 2:], boxes[later, 2:]) - np.maximum(boxes[:later, :2], boxes[later, :2])
        inside = shared.clip(0).prod(axis=1)
        largest, smallest = (pick(areas[:later], areas[later]) for pick in (np.maximum, np.minimum))
        near = np.minimum(inside, smallest) >= TWICE * largest  # neither is less than what they share
        is_box = (np.abs(boxes[:later] - boxes[later]) <= 1).all(axis=1) & (filled[:later] | filled[later])
        others = np.flatnonzero(near | is_box).tolist()
        for earlier in sorted(others, key=lambda one: objects[one].label != objects[later].label):
            iou = _iou(borders(earlier), borders(later))
            if iou >= TWICE or is_box[earlier]:
                yield objects[later], earlier, iou
                break


def _borders(one: _Measured) -> np.ndarray:
    """Where its runs of pixels begin and end, in turn, counted through the image column by column; takes less memory
    and time than masks, for long objects above all, which share their boxes with many others."""
    region, size = json.loads(one.image.regions[one.number]), (one.image.height, one.image.width)
    shape = region["segmentation"]
    runs = decode_runs(shape["counts"]) if isinstance(shape, dict) else runs_of(region_bitmap(region, *size), *size)
    return np.cumsum(runs)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    borders = np.concatenate([one, other])
    steps = np.concatenate([1 - 2 * (np.arange(len(each)) % 2) for each in (one, other)])
    order = np.argsort(borders, kind="stable")
    lengths, depths = np.diff(borders[order]), np.cumsum(steps[order])[:-1]
    union = int(lengths[depths > 0].sum())
    return int(lengths[depths > 1].sum()) / union if union else 0.0


def _twice(pairs: Sequence[tuple[_Measured, int, float]], total: int) -> Iterator[OddObject]:
    for one, earlier, iou in pairs:
        first = named(one.image, earlier)
        text = f"Expected objects apart from each other; this one covers {first} (IoU {iou:.2f})."
        yield OddObject(one.image.name, one.number, "drawn twice", text, one.box, _certainty(len(pairs) - 1, total))


def _by_class(objects: Iterable[_Measured]) -> Iterator[list[_Measured]]:
    groups: dict[str, list[_Measured]] = defaultdict(list)
    for one in objects:
        groups[one.label].append(one)
    yield from groups.values()


def _tiny(objects: Sequence[_Measured]) -> Iterator[OddObject]:
    for same in _by_class(objects):
        logs = [math.log(max(one.area, 1e-3)) for one in same]
        middle = median(logs)
        spread = max(1.4826 * median(abs(log - middle) for log in logs), SMALLEST_SPREAD)
        lowest = middle - FEW_SPREADS * spread if len(same) >= ENOUGH else -math.inf
        tiny = [one for one, log in zip(same, logs, strict=True) if log < lowest or one.width < THIN]
        for one in tiny:
            usual = f"a {one.label} of about {math.exp(middle):.0f} pixels" if lowest > -math.inf else "an area"
            text = f"Expected {usual}; this one has {one.area:.0f}, and a mean width of {one.width:.1f}."
            yield OddObject(one.image.name, one.number, "tiny", text, one.box, _certainty(len(tiny) - 1, len(same)))


def _joined(objects: Sequence[_Measured]) -> Iterator[OddObject]:
    for same in _by_class(objects):
        apart = [one for one in same if one.gap > FAR * math.sqrt(one.area)]
        for one in apart:
            text = f"Expected one {one.label}; its parts are {one.gap:.0f} pixels apart, further than it is wide."
            yield OddObject(one.image.name, one.number, "joined", text, one.box, _certainty(len(apart) - 1, len(same)))


def _outside(objects: Sequence[_Measured]) -> Iterator[OddObject]:
    outside = [(one, share) for one in objects if (share := one.image.cut_off.get(one.number, 0.0)) > MOSTLY_OUTSIDE]
    for one, share in outside:
        text = f"Expected an object in the image; {share:.0%} of its outline lies outside."
        yield OddObject(
            one.image.name, one.number, "outside the image", text, one.box, _certainty(len(outside) - 1, len(objects))
        )


def named(image: CocoImage, number: int) -> str:
    """An object by its place in the file and its label."""
    return f"{image.origins[number]} ({image.labels[number]})"
