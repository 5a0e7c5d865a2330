"""The image that the shapes of a file are read for, and how shapes become objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from active_learning.annotations.annotation import (
    Annotation,
    Bitmap,
    Instance,
    LostObject,
    NotAnObjectError,
    Part,
    Polygon,
    ShapeError,
    Size,
)
from active_learning.annotations.contours import enclosed_area, parts_bitmap, union_bitmap
from active_learning.annotations.documents import brief
from active_learning.annotations.png import MOST_PIXELS
from active_learning.annotations.shapes import clipped_bitmap, clipped_outline
from active_learning.errors import AnnotationError

MOST_MASK_PIXELS = 2 * MOST_PIXELS  # kept of all masks of a file, or, where that is more,
_IMAGES_KEPT = 4  # times the pixels of the image: the crops of its objects overlap
_MOST_DECODED = 16 * MOST_MASK_PIXELS  # of all masks of a file, whatever is kept of them, or
_MASKS_DECODED = 1000  # times the pixels of the image: CVAT's masks are as large
_SMALL = 2**22  # pixels; masks up to this size are decoded however small the image
_OVERHANG = 1.1  # how far, as a share of the image's length, a sloppy outline reaches at most
_ROUNDED = 2  # pixels by which a size may differ: outlines are off by so little at most
Entry = TypeVar("Entry")
Regions: TypeAlias = "tuple[tuple[Part | Bitmap, ...], list[str]]"  # of a shape, and faults of what is left out of it


@dataclass(frozen=True, eq=False)
class Shape:
    """A readable shape; shapes of equal `key` are one object. The regions of a shape are one union."""

    key: tuple[Any, ...]
    label: str
    regions: tuple[Part | Bitmap, ...]
    score: float | None
    origin: str


@dataclass
class Canvas:
    """The image that shapes are read for; `place` is the file, or the place in it, for messages.

    `warnings` grows with what is left out or corrected, `lost` with the shapes among that. So many `pixels` of masks
    may still be kept, and `undecoded` ones decoded: a few bytes of a file can stand for a mask of megabytes. `declared`
    is the size (height, width) of another image, if the file says that it is of one, and `misfit` why outlines for that
    are not of this image.
    """

    height: int
    width: int
    place: Path | str
    warnings: list[str] = field(default_factory=list)
    lost: list[LostObject] = field(default_factory=list)
    declared: Size | None = None
    misfit: str = ""
    has_outlines: bool = field(default=False, init=False)
    pixels: int = field(init=False)
    undecoded: int = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = max(MOST_MASK_PIXELS, _IMAGES_KEPT * self.height * self.width)
        self.undecoded = max(_MOST_DECODED, _MASKS_DECODED * self.height * self.width)

    def part(self, outline: Polygon) -> Part:
        """The outline inside the image.

        Raises:
            ShapeError: nothing of it has an area.
            AnnotationError: it is of the image as it was before it was turned, and so are all others.
        """
        self.has_outlines = True
        self._check_not_turned(outline)
        inside = clipped_outline(outline, self.height, self.width)
        if inside is outline:
            return Part(inside)
        return Part(inside, cut_off=max(1 - enclosed_area(inside) / max(enclosed_area(outline), 1e-6), 0.0))

    def _check_not_turned(self, outline: Polygon) -> None:
        size = (self.height, self.width)
        if self.declared != size[::-1]:
            return
        farthest = outline.max(axis=0)[::-1]
        if (farthest > [_OVERHANG * length for length in size]).any() and (farthest <= self.declared).all():
            here, there = (f"{width} x {height} pixels" for height, width in (size, self.declared))
            reason = f"an outline lies outside of the image ({here}), but inside of it as it was before it was turned"
            raise AnnotationError(f"{self.place}: {reason} ({there}); turn it back, or take its EXIF orientation away")

    def most_pixels(self) -> int:
        """The largest mask to decode; it may be dragged over the image's border.

        Raises:
            AnnotationError: the masks before it took all room. Without the others, objects would be background.
        """
        if min(self.pixels, self.undecoded) <= 0:
            raise self.overfull()
        return min(max(2 * self.height * self.width, _SMALL), MOST_PIXELS)

    def overfull(self) -> AnnotationError:
        """Why a file is refused whose masks find no room."""
        size = f"{self.width}x{self.height} pixels"
        reason = f"its masks take more room than those of an image of {size} may"
        return AnnotationError(f"{self.place}: {reason}; export polygons, or cut the image into smaller ones")

    def bitmap(self, bitmap: Bitmap) -> Bitmap:
        """The set pixels inside the image. Raises ShapeError where there are none."""
        self.undecoded -= bitmap.mask.size
        placed = clipped_bitmap(bitmap, self.height, self.width)
        self.pixels -= placed.mask.size
        return placed

    def check_mask(self, height: int, width: int, name: str = "") -> None:
        """Raises ShapeError for a mask of another size, as of a resized image: it is of other pixels."""
        if (height, width) != (self.height, self.width):
            mask = f"mask {brief(name)}" if name else "the mask"
            sizes = f"height {height}, width {width}, the image {self.height} and {self.width}"
            remedy = "export it for this image, or put the image back that it is of"
            raise ShapeError(f"{mask} has {sizes}; {remedy}{_of_exif((height, width), (self.height, self.width))}")

    def check_crop(self) -> None:
        """As `check_mask`, for a mask of a part of the image, as the file says of what size that is."""
        if self.declared is not None:
            self.check_mask(*self.declared)

    def objects(
        self,
        entries: Iterable[tuple[int, Entry]],
        read_shape: Callable[[Entry, int], Shape],
        name: Callable[[Entry, int], str],
        kind: str = "object",
        label: Callable[[Entry], str] = lambda _: "",
    ) -> tuple[Instance, ...]:
        """An instance for all shapes of one key; those that cannot be read are left out with a warning each.

        Args:
            entries: what a file holds for shapes, each with its number there.
            read_shape: raises ShapeError.
            name: an entry's place in the file, and its label, for messages.
            kind: what the tool calls a shape.
            label: an entry's label, "" where it has none.
        """
        groups: dict[tuple[Any, ...], list[Shape]] = {}
        for index, entry in entries:
            try:
                shape = read_shape(entry, index)
            except ShapeError as fault:
                text = f"{self.place}: {name(entry, index)}: {fault}"
                if isinstance(fault, NotAnObjectError):
                    self.warnings.append(f"{text}; the {kind} is left out")
                else:
                    self.lose(text, label(entry), kind)
            else:
                groups.setdefault(shape.key, []).append(shape)
        return self.join(groups.values())

    def lose(self, fault: str, label: str = "", kind: str = "object") -> None:
        """Leaves an object out, for that reason, with a warning. `fault`, `label`: of LostObject."""
        self.warnings.append(f"{fault}; the {kind} is left out")
        self.lost.append(LostObject(label, fault))

    def warn_of_name(self, named: str, image: str, field: str = "") -> None:
        """The file, in that field, gives another name to the image than it stands beside."""
        place = f"{self.place}: {field}: names" if field else f"{self.place}: names"
        self.warnings.append(f"{place} {named!r}, but the file stands beside {image!r} and is read for it")

    def annotation(
        self, image: str, instances: tuple[Instance, ...], extra: dict[str, Any] | None = None
    ) -> Annotation:
        """What was read for the image of that name, with all warnings so far."""
        lost = tuple(self.lost)
        if min(self.height, self.width) > 1 and _are_in_first_pixel(instances):
            text = "all objects lie in the first pixel; if their points are shares of width and height, write pixels"
            self.warnings.append(f"{self.place}: {text}")
        misfit = self.misfit if self.has_outlines else ""  # masks of another size are left out, see `check_mask`
        warnings = tuple(self.warnings)
        return Annotation(image, self.height, self.width, instances, warnings, extra or {}, lost, misfit=misfit)

    def join(self, groups: Iterable[Sequence[Shape]]) -> tuple[Instance, ...]:
        """An instance for each group of shapes, their union. Raises AnnotationError where one finds no room."""
        return tuple(map(self._union, groups))

    def _union(self, shapes: Sequence[Shape]) -> Instance:
        scores = [shape.score for shape in shapes if shape.score is not None]
        first, score = shapes[0], max(scores, default=None)
        regions = [region for shape in shapes for region in shape.regions]
        parts = tuple(region for region in regions if isinstance(region, Part))
        bitmaps = [region for region in regions if isinstance(region, Bitmap)]
        if not bitmaps:
            return Instance(first.label, parts, None, score, first.origin)
        if len(regions) == 1:
            return Instance(first.label, (), bitmaps[0], score, first.origin)
        self.most_pixels()
        if parts:
            bitmaps.append(parts_bitmap(parts, self.height, self.width))
        return Instance(first.label, (), self.bitmap(union_bitmap(bitmaps)), score, first.origin)


def open_canvas(declared: tuple[Any, Any], size: Size | None, place: Path | str, fields: tuple[str, str]) -> Canvas:
    """The image in the size to trust, with a warning where the file declares another.

    Args:
        declared: (height, width) as the file gives them, None where it does not.
        size: the image's real (height, width), None where it is unknown.
        fields: the names of the two fields, for messages.

    Raises:
        AnnotationError: the real size is unknown, and the declared one is none.
    """
    if size is None:
        return Canvas(*_declared_size(declared, place, fields), place)
    if declared in (size, tuple(map(str, size)), (None, None)):
        return Canvas(*size, place)
    both = f"{place}: {fields[0]} {brief(declared[0])}, {fields[1]} {brief(declared[1])}"
    both = f"{both}: the image has height {size[0]}, width {size[1]}"
    of_other = (_length(declared[0]), _length(declared[1]))
    if min(of_other) <= 0:
        return Canvas(*size, place, [f"{both}, which is used"])
    warning = f"{both}, which is used{_of_exif(of_other, size)}"
    reason = _misfit(of_other, size)
    return Canvas(*size, place, [warning], declared=of_other, misfit=f"{both}; {reason}" if reason else "")


def _length(value: Any) -> int:
    """Also of a text or a float; 0 where it is none."""
    try:
        return 0 if isinstance(value, bool) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _misfit(declared: Size, size: Size) -> str:
    """Why outlines for an image of the one size are not of one of the other; "" where they may be: the size that a file
    gives may be turned, and its outlines not."""
    (height, width), remedy = declared, "export them for this image, or put the image back that they are of"
    if declared == size[::-1] or max(abs(height - size[0]), abs(width - size[1])) <= _ROUNDED:
        return ""
    if abs(height * size[1] - width * size[0]) <= max(size):  # lengths are rounded
        return f"its outlines are of a copy of another size; {remedy}"
    return f"its outlines are of another image, or of one that was cropped; {remedy}"


def _of_exif(size: tuple[Any, Any], of_image: Size) -> str:
    return "; was it annotated without regard to its EXIF rotation?" if size == of_image[::-1] else ""


def _declared_size(declared: tuple[Any, Any], place: Path | str, fields: tuple[str, str]) -> tuple[int, int]:
    height, width = declared
    if not all(type(length) is int and length > 0 for length in declared):
        values = ", ".join(map(brief, declared))
        raise AnnotationError(f"{place}: {', '.join(fields)}: no image size ({values})")
    if height * width > MOST_PIXELS:
        pixels = " x ".join(map(brief, declared))
        raise AnnotationError(f"{place}: {', '.join(fields)}: {pixels} pixels are no image of this world")
    return height, width


def _are_in_first_pixel(instances: Sequence[Instance]) -> bool:
    """Whether there are objects, and no point of theirs lies beyond; the whole outline of that pixel does not count."""
    outlines = [part.exterior for one in instances for part in one.parts]
    within = all(outline.max() <= 1 for outline in outlines) and not any(one.bitmap for one in instances)
    return within and any((outline % 1).any() for outline in outlines)
