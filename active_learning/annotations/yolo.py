"""The label files of YOLO segmentation, as Ultralytics reads them: a text for each image, a line an object.

A line is a class number and the outline, x y x y ..., in shares of the image's width and height. One outline has to
hold an object with holes or in parts: these are joined by lines that are run to and fro, which enclose nothing under
the even-odd rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon, ShapeError, Size
from active_learning.annotations.canvas import Canvas, Shape
from active_learning.annotations.contours import instance_bitmap
from active_learning.annotations.documents import brief, read_content
from active_learning.annotations.even_odd import (
    join_paths,
    paths_of_bitmap,
    paths_of_parts,
    region_of_paths,
    split_path,
)
from active_learning.annotations.shapes import check_drawable, read_polygon
from active_learning.errors import AnnotationError

_DECIMALS = 7  # of a share: a hundredth of a pixel in an image of 100,000
_LOWEST, _HIGHEST = -1.0, 2.0  # an object may hang over the border, by the size of the image; beyond are no shares
_ROUNDING = 1e-3  # of a share, in a box that ends at the image's border
_BOX = (4, 5)  # numbers of a box, without and with its confidence or track
_CORNERS = 8  # numbers of an outline with four, which an oriented box has, too
_TRACK_REMEDY = (
    "as Ultralytics writes behind an object that it tracks (save_conf=True); write the labels without, or, if they are "
    "of the outline, begin it at another point"
)


def rows_of(path: Path) -> list[tuple[int, list[str]]]:
    """The words of each line, with its number, less blank lines and remarks (#).

    Raises:
        AnnotationError: the file cannot be read or is no text.
    """
    try:
        text = read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    lines = enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1)
    return [(number, words) for number, line in lines if (words := line.split()) and not words[0].startswith("#")]


@dataclass(frozen=True)
class RowKinds:
    """How many objects of label files are boxes, and how many outlines of four corners; `others`: some are neither.
    `first` is the place of the first box."""

    boxes: int
    corners: int
    others: bool
    first: str = ""


def kinds_of_rows(paths: Iterable[Path]) -> RowKinds:
    """Of all label files of a data set, but no further than the first object that is neither."""
    boxes = corners = 0
    first = ""
    for place, count in _counts(paths):
        if count in _BOX:
            boxes, first = boxes + 1, first or place
        elif count == _CORNERS:
            corners += 1
        else:
            return RowKinds(boxes, corners, others=True, first=first)
    return RowKinds(boxes, corners, others=False, first=first)


def tracks_of_rows(paths: Iterable[Path]) -> str:
    """The place and fault of the first object where all of a data set end in a confidence and the number of a track,
    which make a point like any other if they are 0.9 and 1; "" where one does not."""
    fault, is_sure = "", False
    for path in paths:
        try:
            found = rows_of(path)
        except AnnotationError:  # reported when it is read
            continue
        for number, words in found:
            numbers = _numbers(words[1:])
            if not _is_outline(numbers):
                continue  # refused when it is read
            if not _may_end_in_track(numbers):
                return ""
            fault = fault or f"{path}: line {number}: {_track_fault(numbers)}"
            is_sure = is_sure or _ends_in_track(np.reshape(numbers, (-1, 2)))
    return fault if is_sure else ""


def _numbers(words: Iterable[str]) -> list[float]:
    """None of them where a word is no number."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def _is_outline(numbers: Sequence[float]) -> bool:
    return len(numbers) >= 6 and len(numbers) % 2 == 0


def _may_end_in_track(numbers: Sequence[float]) -> bool:
    return len(numbers) >= 6 and numbers[-1].is_integer() and numbers[-1] >= 1 and 0 <= numbers[-2] <= 1


def _ends_in_track(points: Polygon) -> bool:
    """Whether the last point cannot be one of the outline, or does not look like one: it lies at the lower border, and
    farther from both its neighbours than any other two lie from each other; of three points, where the others are a box
    (x, y, width, height) inside the image."""
    if not _may_end_in_track(points.ravel().tolist()):
        return False
    if points[-1, 1] > 1:
        return True
    if len(points) == 3:
        middle, size = points[:2]
        return bool((np.abs(middle - 0.5) + size / 2 < 0.5 + _ROUNDING).all())
    edges = np.hypot(*(points - np.roll(points, 1, axis=0)).T)  # of each point to the one before
    return bool(min(edges[-1], edges[0]) > edges[1:-1].max())


def _track_fault(numbers: Sequence[float]) -> str:
    confidence, track = numbers[-2:]
    return f"ends in {confidence:g} {track:g}, which look like a confidence and the number of a track, {_TRACK_REMEDY}"


def _counts(paths: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Of each row its place and how many numbers follow that of the class."""
    for path in paths:
        try:
            rows = rows_of(path)
        except AnnotationError:  # reported when it is read
            continue
        yield from ((f"{path}: line {number}", len(words) - 1) for number, words in rows)


def read_labels(path: Path, names: Mapping[int, str], *, image: str, size: Size) -> Annotation:
    """The objects of a label file, clipped to the image.

    Args:
        names: from class numbers to names.
        size: (height, width) of the image in pixels, EXIF-rotated.

    Raises:
        AnnotationError: the whole file cannot be read, or has a class without a name.
    """
    canvas, rows = Canvas(*size, path), rows_of(path)
    _check_classes(rows, names, path)
    outlines = filter(_is_outline, (_numbers(words[1:]) for _, words in rows))
    may_be_tracks = all(map(_may_end_in_track, outlines))  # all lines of a file have one, or none
    reader = partial(_read_row, names=names, canvas=canvas, may_be_tracks=may_be_tracks)
    instances = canvas.objects(rows, reader, _place, "object", partial(_label, names=names))
    return canvas.annotation(image, instances)


def _check_classes(rows: Iterable[tuple[int, list[str]]], names: Mapping[int, str], path: Path) -> None:
    """Raises AnnotationError where a class has no name: the names may be those of other labels, or count from 1."""
    for number, words in rows:
        label = _class_number(words[0])
        if label >= 0 and not names.get(label, "").strip():
            remedy = "give the data.yaml (or classes.txt) that belongs to these labels"
            raise AnnotationError(f"{path}: line {number}: class {label} has no name{_others(names)}; {remedy}")


def _others(names: Mapping[int, str]) -> str:
    numbers = sorted(number for number, name in names.items() if name.strip())
    if not numbers:
        return ""
    if numbers == [*range(numbers[0], numbers[-1] + 1)]:
        return f", as {numbers[0]} to {numbers[-1]} have"
    return f", as {', '.join(map(str, numbers[:20]))} have"


def _remedy(word: str) -> str:
    return "; write decimal points, and blanks between numbers" if "," in word or ";" in word else ""


def _place(words: list[str], number: int) -> str:
    return f"line {number}: class {brief(words[0])}"


def _label(words: list[str], names: Mapping[int, str]) -> str:
    return names.get(_class_number(words[0]), "")


def _class_number(word: str) -> int:
    """-1 where it is none. Some programs write 0.0 for 0."""
    try:
        value = float(word)
    except ValueError:
        return -1
    return int(value) if value.is_integer() and 0 <= value < 1e9 else -1


def _read_row(words: list[str], number: int, names: Mapping[int, str], canvas: Canvas, may_be_tracks: bool) -> Shape:
    """Raises ShapeError."""
    label = _label(words, names)
    if not label:
        raise ShapeError(f"is no number of a class{_remedy(words[0])}")
    rings = split_path(_outline(words[1:], may_be_tracks) * (canvas.width, canvas.height))
    regions = (canvas.part(rings[0]),) if len(rings) == 1 else _region(rings, canvas)
    return Shape((number,), label, regions, None, f"line {number}")


def _outline(words: list[str], may_be_tracks: bool) -> Polygon:
    """Nx2, in shares. Raises ShapeError."""
    if len(words) in _BOX:
        raise ShapeError("is a box (x y width height), not an outline; masks are needed")
    if len(words) % 2:
        raise ShapeError(f"{len(words)} numbers are no x, y pairs; a confidence or a track must not follow them")
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        odd = next(word for word in words if not _is_number(word))
        raise ShapeError(f"{brief(odd)} is no number{_remedy(odd)}") from error
    points = read_polygon([numbers[at : at + 2] for at in range(0, len(numbers), 2)])
    if _ends_in_track(points) and (may_be_tracks or points[-1, 1] > 1):
        raise ShapeError(_track_fault(numbers))
    if not _LOWEST <= points.min() <= points.max() <= _HIGHEST:
        worst = max(numbers, key=lambda value: abs(value - 0.5))
        raise ShapeError(f"{worst:g} is no share of width or height, 0 to 1; divide pixels by the image's size")
    return points


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _region(rings: Iterable[Polygon], canvas: Canvas) -> tuple[Part | Bitmap, ...]:
    """What several rings enclose under the even-odd rule. Raises ShapeError where that is nothing."""
    kept: list[Polygon] = []
    fault = ShapeError("has no area")
    for ring in rings:
        try:
            kept.append(canvas.part(ring).exterior)
        except ShapeError as error:
            fault = error
    if not kept:
        raise fault
    check_drawable(kept, canvas.height, canvas.width)
    canvas.most_pixels()
    region = region_of_paths(kept, canvas.height, canvas.width)
    return (canvas.bitmap(region),) if isinstance(region, Bitmap) else region


@dataclass(frozen=True)
class LabelText:
    """The text of a label file, how many objects it has, and how many of these had to be joined to one outline."""

    text: str
    objects: int
    joined: int


def label_text(annotation: Annotation, numbers: Mapping[str, int], *, max_polygon_error: float = 1.0) -> LabelText:
    """The label file of an annotation; `numbers` are those of the classes.

    Outlines of bitmaps, and of parts that had to be united, are within `max_polygon_error` pixels. Objects without an
    area inside the image are dropped. There is no place for scores.
    """
    size = np.array([annotation.width, annotation.height], dtype=np.float64)
    objects = [
        (numbers[instance.label], paths)
        for instance in annotation.instances
        if (paths := _paths(instance, annotation, max_polygon_error))
    ]
    lines = [f"{number} {_shares(_begun_well(join_paths(paths) / size))}\n" for number, paths in objects]
    return LabelText("".join(lines), len(lines), sum(len(paths) > 1 for _, paths in objects))


def _paths(instance: Instance, annotation: Annotation, max_error: float) -> list[Polygon]:
    height, width = annotation.height, annotation.width
    if instance.bitmap is None:
        return paths_of_parts(instance.parts, height, width, max_error)
    return paths_of_bitmap(instance_bitmap(instance, height, width), max_error)


def _begun_well(points: Polygon) -> Polygon:
    """The outline from another point on, if its last one would be taken for a confidence and a track."""
    rounded = np.round(points, _DECIMALS)
    turns = (at for at in range(len(points)) if not _ends_in_track(np.roll(rounded, at, axis=0)))
    return np.roll(points, next(turns, 0), axis=0)


def _shares(points: Polygon) -> str:
    return " ".join(f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".") for value in points.ravel().tolist())
