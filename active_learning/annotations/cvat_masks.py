"""The mask files of LabelMe 3.0: PNG files of the image's size in a folder Masks.

Its place: beside the xml file, or beside the folder that the element `folder` names (CVAT), or at Masks/<subset> for
Annotations/<subset> (datumaro).
"""

from __future__ import annotations

from itertools import count
from pathlib import Path, PurePosixPath, PureWindowsPath

import cv2
import numpy as np

from active_learning.annotations.annotation import Bitmap, ShapeError
from active_learning.annotations.documents import brief
from active_learning.system.names import normalised

MASKS = "Masks"
_COLOUR = (0, 203, 255, 153)  # blue, green, red, alpha


def find_mask(name: str, path: Path, folder: str, within: Path | None) -> Path:
    """The mask's file.

    Args:
        name: the mask's name, as the xml file `path` gives it.
        folder: the element `folder` of that file.
        within: a folder that the mask must not lie outside of.

    Raises:
        ShapeError: there is none, or it lies, or is linked to, outside `within` or the folder that holds Masks.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or PureWindowsPath(name).drive or len(name) > 1000:
        raise ShapeError(f"mask {brief(name)} leads out of the folder {MASKS}")
    for masks in _mask_folders(path, folder):
        if within is not None and not masks.is_relative_to(within.absolute()):
            continue
        file = masks / relative
        try:
            is_file, real, home = file.is_file(), file.resolve(), masks.parent.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # too long a name, links in a circle
            raise ShapeError(f"mask {brief(name)} cannot be found: {error}") from error
        if is_file and not real.is_relative_to(home):
            raise ShapeError(f"mask {brief(name)} is a link out of {masks.parent}")
        if is_file:
            return file
    raise ShapeError(f"there is no mask {brief(name)} in the folder {MASKS}")


def _mask_folders(path: Path, folder: str) -> list[Path]:
    """Where the masks of an xml file may lie, the likeliest first."""
    place = path.absolute().parent
    folders = [place / MASKS]
    root = without_tail(place, folder)
    if root is not None:
        folders.append(root / MASKS)
    if "Annotations" in place.parts:
        split = len(place.parts) - 1 - place.parts[::-1].index("Annotations")
        masks, subset = Path(*place.parts[:split], MASKS), place.parts[split + 1 :]
        folders += [masks.joinpath(*subset[:length]) for length in range(len(subset), -1, -1)]
    return folders


def without_tail(place: Path, folder: str) -> Path | None:
    """The place less `folder`, where it ends with that."""
    tail = PurePosixPath(normalised(folder)).parts
    end = tuple(normalised(part) for part in place.parts[-len(tail) :]) if tail else ()
    return place.parents[len(tail) - 1] if tail and end == tail and ".." not in tail else None


def encode_mask_file(bitmap: Bitmap, height: int, width: int) -> bytes:
    """A PNG of the image's size, transparent but for the object."""
    image = np.zeros((height, width, 4), np.uint8)
    rows, columns = bitmap.mask.shape
    image[bitmap.y : bitmap.y + rows, bitmap.x : bitmap.x + columns][bitmap.mask] = _COLOUR
    _, png = cv2.imencode(".png", image)
    return png.tobytes()


def free_mask_name(stem: str, content: bytes, masks: Path) -> str:
    """`<stem>.png`, or with a number where that is the name of another file in the folder `masks`."""
    names = (f"{stem}{f'_{number}' if number > 1 else ''}.png" for number in count(1))
    files = ((name, masks / name) for name in names)
    return next(name for name, file in files if not file.exists() or (file.is_file() and file.read_bytes() == content))
