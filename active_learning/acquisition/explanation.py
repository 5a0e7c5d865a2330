"""Why an image was chosen: what T looks with dropout saw in it, and which part of the certainty was low.

It is kept beside the results, in `why_chosen<loop>/`: why.json, and of each image a small picture and a map of the
pixels on which the looks disagree. So the report needs no network.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.errors import MaskALError
from active_learning.sampling.certainty import MEAN_MASK_QUORUM, ImageCertainty, Observation
from active_learning.sampling.forward_passes import Look
from active_learning.sampling.observations import Member, group_detections
from active_learning.system.files import write_atomically

LONGEST_SIDE = 640  # of the kept pictures, in pixels
PARTS = ("semantic", "mask", "box", "occurrence")
Pixels = npt.NDArray[np.uint8]
_FILE = "why.json"


@dataclass(frozen=True)
class ExplainedObject:
    """An object as n of the T looks saw it.

    Attributes:
        semantic, mask, box, occurrence: the parts of its certainty; certainty is their product.
        boxes: n boxes (x0, y0, x1, y1) in pixels of the image file.
        votes: in how many of the looks each class was the likeliest.
        passes: in which of the looks it was seen, counted from 0.
    """

    semantic: float
    mask: float
    box: float
    occurrence: float
    certainty: float
    boxes: tuple[tuple[float, ...], ...]
    votes: dict[str, int]
    passes: tuple[int, ...]

    @property
    def lowest_part(self) -> str:
        return min(PARTS, key=lambda part: getattr(self, part))


@dataclass(frozen=True)
class Explanation:
    """An image that was chosen; height and width in pixels of its file. `picture` and `spread` are files."""

    image: str
    certainty: float
    mode: str
    passes: int
    height: int
    width: int
    objects: tuple[ExplainedObject, ...]
    picture: str = ""
    spread: str = ""

    @property
    def lowest_part(self) -> str:
        """The part that is lowest over the objects that make the image's certainty."""
        ranked = sorted(self.objects, key=lambda one: one.certainty)
        counted = {"min": ranked[:1], "max": ranked[-1:]}.get(self.mode, ranked)
        return min(PARTS, key=lambda part: sum(getattr(one, part) for one in counted))


def explain(
    image: str, look: Look, certainty: ImageCertainty, classes: Sequence[str], *, iou_threshold: float, mode: str
) -> tuple[Explanation, Pixels]:
    """What was seen, the least certain object first, and the map of disagreement (`spread_map`)."""
    groups = group_detections(look.passes, iou_threshold)
    objects = [_explain(one, members, classes) for one, members in zip(certainty.observations, groups, strict=True)]
    objects.sort(key=lambda one: one.certainty)
    size = (look.image_height, look.image_width)
    told = Explanation(image, certainty.value, mode, len(look.passes), *size, tuple(objects))
    return told, spread_map(groups, len(look.passes), *size)


def _explain(observation: Observation, members: Sequence[Member], classes: Sequence[str]) -> ExplainedObject:
    votes = Counter(classes[index] for index in observation.probabilities.argmax(axis=1))
    return ExplainedObject(
        **{part: getattr(observation, part) for part in (*PARTS, "certainty")},
        boxes=tuple(tuple(round(side, 1) for side in detection.box.tolist()) for _, detection in members),
        votes=dict(votes.most_common()),
        passes=observation.passes,
    )


def spread_map(groups: Sequence[Sequence[Member]], passes: int, height: int, width: int) -> Pixels:
    """(H, W, 4) red, green, blue, opacity: the hotter, the more evenly the looks are divided on whether a pixel is the
    object's; a white line is the outline of each mean mask."""
    spread = np.zeros((height, width), dtype=np.float32)
    outlines = np.zeros((height, width), dtype=bool)
    for members in groups:
        votes = np.zeros((height, width), dtype=np.float32)
        for _, detection in members:
            x0, y0, x1, y1 = detection.mask.bounds
            votes[y0:y1, x0:x1] += detection.mask.pixels
        share = votes / passes
        np.maximum(spread, 4 * share * (1 - share), out=spread)
        mean = np.pad((votes >= MEAN_MASK_QUORUM * len(members)).astype(np.uint8), 1)
        outlines |= (mean > cv2.erode(mean, np.ones((3, 3), np.uint8)))[1:-1, 1:-1]
    heat = np.zeros((height, width, 4), dtype=np.uint8)
    heat[..., 0] = 255
    heat[..., 1] = 40 + 190 * spread
    heat[..., 3] = 180 * spread
    heat[outlines] = 255
    return heat


class Album:
    """The explanations of one loop, written into its folder one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[dict[str, Any]] = []

    def add(self, told: Explanation, picture: Pixels, spread: Pixels) -> None:
        """`picture` (h, w, 3) red, green, blue, of any size; `spread` as `spread_map` gives it."""
        number = len(self.told)
        names = f"{number:02d}.jpg", f"{number:02d}_spread.png"
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in zip(names, (_small(picture), _small(spread)), strict=True):
            _write_picture(self.folder / name, pixels)
        self.told.append({**asdict(told), "picture": names[0], "spread": names[1]})

    def close(self) -> None:
        write_atomically(self.folder / _FILE, json.dumps(self.told, ensure_ascii=False, indent=1) + "\n")


def _small(pixels: Pixels) -> Pixels:
    factor = LONGEST_SIDE / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _write_picture(path: Path, pixels: Pixels) -> None:
    code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, 82] if path.suffix == ".jpg" else []
    _, content = cv2.imencode(path.suffix, cv2.cvtColor(pixels, code), options)
    path.write_bytes(content.tobytes())  # imwrite cannot write into a folder with an umlaut everywhere


def read_explanations(folder: Path) -> list[Explanation]:
    """Those of `Album`; none where the folder is not there or not complete.

    Raises:
        MaskALError: the file cannot be read.
    """
    path = folder / _FILE
    if not path.exists():
        return []
    try:
        return [_read(document) for document in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise MaskALError(f"{path}: cannot be read ({error}); delete {folder} to do without it") from error


def _read(document: dict[str, Any]) -> Explanation:
    objects = tuple(
        ExplainedObject(**{**one, "boxes": tuple(map(tuple, one["boxes"])), "passes": tuple(one["passes"])})
        for one in document["objects"]
    )
    return Explanation(**{**document, "objects": objects})
