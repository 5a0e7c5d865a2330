"""The explanation of a choice, as it is kept for the report: what T forward passes with dropout detected in an image,
and which part of its certainty was low.

It stands beside the results, in `why_chosen<loop>/`: why.json, and of each image a small picture and a map of the
pixels on which the passes disagree. So the report needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from active_learning.errors import MaskALError
from active_learning.run.recorded import (
    Count,
    CountFromOne,
    FileName,
    Finite,
    ImageName,
    Share,
    check_values,
    read_json,
)
from active_learning.system.files import write_atomically
from active_learning.system.pictures import write_small_picture

LONGEST_SIDE = 640  # of the kept pictures, in pixels
PARTS = ("semantic", "mask", "box", "occurrence")
Pixels = npt.NDArray[np.uint8]
_FILE = "why.json"


@dataclass(frozen=True)
class ExplainedObject:
    """An object that n of the T passes detected.

    Attributes:
        semantic, mask, box, occurrence: the parts of its certainty; certainty is their product.
        boxes: n boxes (x0, y0, x1, y1) in pixels of the image file, from the corner of what is shown.
        votes: in how many of the passes each class was the likeliest.
        passes: which of them detected it, counted from 0.
    """

    semantic: Share
    mask: Share
    box: Share
    occurrence: Share
    certainty: Share
    boxes: tuple[tuple[Finite, Finite, Finite, Finite], ...]
    votes: dict[str, Count]
    passes: tuple[Count, ...]

    @property
    def lowest_part(self) -> str:
        return min(PARTS, key=lambda part: getattr(self, part))


@dataclass(frozen=True)
class Explanation:
    """An image that was chosen. `picture` and `spread` are files.

    Attributes:
        height, width: of what is shown, in pixels of the image file.
        tile: column and row of the image at which that begins; None where it is the whole image.
        lowest: `lowest_part`, of all objects of the image; "" where all are shown.
    """

    image: ImageName
    certainty: Share
    mode: Annotated[str, Field(pattern="^(mean|min|max)$")]
    passes: CountFromOne
    height: CountFromOne
    width: CountFromOne
    objects: Annotated[tuple[ExplainedObject, ...], Field(min_length=1)]
    picture: FileName = ""
    spread: FileName = ""
    tile: tuple[Count, Count] | None = None
    lowest: Annotated[str, Field(pattern=f"^({'|'.join(PARTS)})?$")] = ""

    @property
    def lowest_part(self) -> str:
        """The part that is lowest over the objects that make the image's certainty."""
        return self.lowest or lowest_of(that_count(self.objects, self.mode))


class _Certain(Protocol):
    """An object with the parts of its certainty."""

    @property
    def certainty(self) -> float: ...


One = TypeVar("One", bound=_Certain)


def that_count(objects: Iterable[One], mode: str) -> list[One]:
    """Of an image's objects those that make its certainty, the least certain first."""
    ranked = sorted(objects, key=lambda one: one.certainty)
    return {"min": ranked[:1], "max": ranked[-1:]}.get(mode, ranked)


def lowest_of(objects: Sequence[_Certain]) -> str:
    """The part that is lowest over these objects."""
    return min(PARTS, key=lambda part: sum(getattr(one, part) for one in objects))


_EXPLANATIONS = TypeAdapter(list[Explanation])


def write_explanations(folder: Path, explained: Iterable[tuple[Explanation, Pixels, Pixels]]) -> None:
    """Writes each explanation with its picture (h, w, 3) red, green, blue, of any size, and its map of disagreement
    (H, W, 4) red, green, blue, opacity."""
    documents = []
    for number, (explanation, picture, spread) in enumerate(explained):
        folder.mkdir(parents=True, exist_ok=True)
        names = f"{number:02d}.jpg", f"{number:02d}_spread.png"
        bgr, bgra = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), cv2.cvtColor(spread, cv2.COLOR_RGBA2BGRA)
        for name, pixels in zip(names, (bgr, bgra), strict=True):
            write_small_picture(folder / name, np.asarray(pixels, dtype=np.uint8), LONGEST_SIDE)
        documents.append({**asdict(explanation), "picture": names[0], "spread": names[1]})
    write_atomically(folder / _FILE, json.dumps(documents, ensure_ascii=False, indent=1) + "\n")


def is_explained(folder: Path, images: Sequence[str]) -> bool:
    """Whether the folder holds the explanations of these images, as from an earlier start."""
    try:
        return [one.image for one in read_explanations(folder)] == list(images)
    except MaskALError:  # they are made again
        return False


def read_explanations(folder: Path) -> list[Explanation]:
    """Those of `write_explanations`; none where the folder is not there or not complete.

    Raises:
        MaskALError: the file cannot be read.
    """
    path = folder / _FILE
    if not path.exists():
        return []
    remedy = f"delete {folder} to do without it"
    found = check_values(_EXPLANATIONS, read_json(path, "explanations of a choice", remedy), f"{path}", remedy)
    if any(not (one.picture and one.spread) for one in found):
        raise MaskALError(f"{path}: picture or spread: is missing; {remedy}")
    return found
