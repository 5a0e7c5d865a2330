"""Small pictures of the surest findings, kept beside them so that the report needs neither network nor images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from active_learning.errors import MaskALError
from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.results import REMEDY
from active_learning.run.recorded import CountFromOne, FileName, Finite, check_values, read_json
from active_learning.system.files import write_atomically
from active_learning.system.log import logger
from active_learning.system.pictures import write_small_picture

MOST_PICTURES = 12
LONGEST_SIDE = 360  # of a picture, in pixels
AROUND = 0.6  # so much of the place's longer side is shown around it
_FILE = "pictures.json"


@dataclass(frozen=True)
class FindingPicture:
    """A finding with the picture of its surroundings: the window x, y, width, height of the image, in its pixels."""

    finding: LabelFinding
    picture: FileName
    x: Finite
    y: Finite
    width: CountFromOne
    height: CountFromOne


_PICTURES = TypeAdapter(list[FindingPicture])


def write_pictures(
    folder: Path, findings: Sequence[LabelFinding], image_of: Callable[[LabelFinding], Path], most_pixels: int
) -> None:
    """Writes pictures of the first findings in place of those that are there; an image that cannot be read has none.

    Args:
        image_of: gives the file of a finding's image.
        most_pixels: of an image; larger ones are not read.
    """
    from active_learning.network.prediction import read_picture

    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).unlink(missing_ok=True)  # it would name the former findings beside pictures of the new
    pictures: list[FindingPicture] = []
    for finding in findings[:MOST_PICTURES]:
        try:
            pixels = read_picture(image_of(finding), most_pixels)
        except MaskALError as error:
            logger.warning("The report will not show it: %s", error)
            continue
        name = f"{len(pictures):02d}.jpg"
        x0, y0, x1, y1 = _window(finding, *pixels.shape[:2])
        write_small_picture(folder / name, pixels[y0:y1, x0:x1], LONGEST_SIDE)
        pictures.append(FindingPicture(finding, name, float(x0), float(y0), x1 - x0, y1 - y0))
    write_atomically(folder / _FILE, json.dumps([asdict(one) for one in pictures], ensure_ascii=False) + "\n")
    for number in range(len(pictures), MOST_PICTURES):
        (folder / f"{number:02d}.jpg").unlink(missing_ok=True)


def _window(finding: LabelFinding, height: int, width: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the finding with its outlines and what is around it, within the image."""
    corners = np.array([*finding.box, *(side for outline in finding.detected for side in outline)]).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = max(AROUND * float((high - low).max()), 16.0)
    x0, y0 = np.clip(np.floor(low - margin), 0, (width - 1, height - 1)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high + margin), 1, (width, height)).astype(int).tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def read_pictures(folder: Path) -> list[FindingPicture]:
    """Those of `write_pictures`, less such whose file is gone; raises MaskALError where the list is damaged."""
    path = folder / _FILE
    if not path.exists():
        return []
    found = check_values(_PICTURES, read_json(path, "pictures of the label check", REMEDY), f"{path}", REMEDY)
    return [one for one in found if (folder / one.picture).is_file()]
