"""An annotated image of a conversion, and what counts where two exports describe it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from active_learning.annotations import Annotation, labelme, load_document
from active_learning.annotations.coco import coco_image
from active_learning.errors import AnnotationError, MaskALError

Reader = Callable[[str], Annotation]  # of an image's name, as `annotations.read_leniently`; raises MaskALError


@dataclass(frozen=True)
class Source:
    """An image, named relative to the folder, its annotation file, and how to read that.

    `is_one_of_many`: the file describes other images, too. `exact`: the file gives the image
    that name, with its suffix where it gives one.
    """

    image: str
    path: Path
    read: Reader
    is_one_of_many: bool = False
    exact: bool = True


def joined(one: Source, other: Source) -> Source:
    """Of two exports that describe an image, as where several persons annotated it in parts, the one that has objects
    of it; where they differ, one whose `read` raises AnnotationError."""
    objects, others = (_labels_and_extents(source) for source in (one, other))
    if not objects or not others or _are_alike(objects, others):
        return one if objects else other

    def refuse(image: str) -> Annotation:
        remedy = "leave the file that counts, or convert each to a folder of its own"
        raise AnnotationError(f"{other.path}: image {image!r}: has other objects in {one.path}; {remedy}")

    return replace(one, read=refuse)


def joined_with_beside(beside: Source, other: Source) -> Source:
    """As `joined`, where one stands beside the image: that one, unless it may be of an unopened image."""
    if has_objects(beside) or not has_objects(other):
        return beside
    return other if may_be_unopened(beside) else beside


def has_objects(source: Source) -> bool:
    """Also where some, or the file, cannot be read."""
    try:
        annotation = source.read(source.image)
    except MaskALError:
        return True
    return bool(annotation.instances or annotation.lost)


def may_be_unopened(source: Source) -> bool:
    """Whether a tool's export has the file, or its entry, for an image that nobody has opened; LabelMe has no exports.

    Raises:
        AnnotationError: the file cannot be read.
    """
    return not is_of_labelme(source)


def is_of_labelme(source: Source) -> bool:
    """Raises AnnotationError."""
    return not source.is_one_of_many and labelme.recognises(load_document(source.path))


def _labels_and_extents(source: Source) -> list[tuple[str, list[float]]]:
    """Of the objects: x, y, width, height and area; what cannot be read has none."""
    try:
        annotation = source.read(source.image)
    except MaskALError as error:
        return [(str(error), [])]
    image = coco_image(annotation)
    regions = map(json.loads, image.regions)
    extents = ([*region["bbox"], region["area"]] for region in regions)
    return [*zip(image.labels, extents, strict=True), *((lost.label, []) for lost in annotation.lost)]


def _are_alike(objects: Sequence[tuple[str, list[float]]], others: Sequence[tuple[str, list[float]]]) -> bool:
    """Whether each object of one has its match in the other; formats round, and count pixels from middle or corner."""
    left = list(others)
    for label, extent in objects:
        match = next((one for one in left if one[0] == label and _is_same_extent(one[1], extent)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _is_same_extent(one: Sequence[float], other: Sequence[float]) -> bool:
    if not one or not other:
        return not one and not other
    width, height = other[2:4]
    return math.dist(one[:4], other[:4]) <= 3 and abs(one[4] - other[4]) <= 1.5 * (width + height)
