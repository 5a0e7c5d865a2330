"""What an annotation file holds about an image, whichever tool wrote it.

Coordinates are (x, y) corner coordinates in pixels of the EXIF-rotated image: it spans 0..width and 0..height, and
pixel (row, column) covers column..column + 1 and row..row + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the package's names alone do not cost numpy
    import numpy as np
    from numpy.typing import NDArray

Polygon: TypeAlias = "NDArray[np.float64]"  # Nx2, (x, y), closed by joining the last point to the first
Mask: TypeAlias = "NDArray[np.bool_]"  # HxW
Size: TypeAlias = tuple[int, int]  # (height, width) of an image in pixels


@dataclass(frozen=True, eq=False)
class Part:
    """One connected region: a polygon, less its holes. `cut_off`: the share of its area that lay outside the image."""

    exterior: Polygon
    holes: tuple[Polygon, ...] = ()
    cut_off: float = 0.0


@dataclass(frozen=True, eq=False)
class Bitmap:
    """A crop of a mask, placed in the image: its upper left pixel is column x, row y."""

    x: int
    y: int
    mask: Mask


@dataclass(frozen=True, eq=False)
class Instance:
    """One object: the union of its parts, or a bitmap (then `parts` is empty).

    `score` is the confidence of a prediction, 0..1. `origin` is the place in the file, such as "shapes[3]".
    """

    label: str
    parts: tuple[Part, ...] = ()
    bitmap: Bitmap | None = None
    score: float | None = None
    origin: str = ""


class ShapeError(ValueError):
    """Why one shape of a file is left out."""


class NotAnObjectError(ShapeError):
    """The entry is no object of this image: a tag of the whole image, or of another image of the same file."""


@dataclass(frozen=True)
class LostObject:
    """A shape that could not be read: its label, "" where it has none, and the fault, with file and place."""

    label: str
    fault: str


@dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of one image.

    `image` is the name the caller knows the image by, `height` and `width` are in pixels. `warnings` names what was
    left out or corrected, each with file, place and reason. `extra` holds the file's unknown top-level fields.
    `lost` are the shapes among what was left out: where all are, the image is not known to be one without objects.
    `skipped` are the labels of objects that were left out on purpose, as they are not of the classes. `misfit` is why
    outlines that the file holds are not of this image, but of one of another size; "" where nothing says so.
    """

    image: str
    height: int
    width: int
    instances: tuple[Instance, ...] = ()
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    lost: tuple[LostObject, ...] = ()
    skipped: tuple[str, ...] = ()
    misfit: str = ""

    def without_scores(self) -> Annotation:
        """For a file that has no place for them."""
        return replace(self, instances=tuple(replace(instance, score=None) for instance in self.instances))
