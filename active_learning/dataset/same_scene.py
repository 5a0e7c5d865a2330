"""Whether two images show one scene: one is laid over the other, and they must agree in every place. Needs no network.

Both are grey thumbnails of SIDE x SIDE pixels. Zoom and shift are searched, then refined by the enhanced correlation
coefficient (Evangelidis and Psarakis, IEEE TPAMI 2008); agreement is the structure term of SSIM (Wang et al., IEEE TIP
2004) where it is lowest, so that another object on the same table makes another scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Window = tuple[slice, slice]

SIDE, INSIDE = 64, 52  # of a thumbnail, and of the part of one that the other one must hold, in pixels
SIDES = range(56, 74, 2)  # to which the other one is resized: zooms of 0.875 to 1.125
LEAST_CORRELATION = 0.7  # where zoom and shift fit best; different images reach less than 0.4, copies more than 0.75
LEAST_AGREEMENT = 0.4  # copies that are moved, zoomed or brighter have more than 0.45; with another object 0.1
COARSE = 4.0  # pixels: structure is what is finer
PLACE = 4.0  # pixels: in places as wide as this images must agree
NOISE = 3.0  # grey levels: weaker structure is none
_MOTIONS = (cv2.MOTION_TRANSLATION, cv2.MOTION_AFFINE)
_SEARCH_ENDS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)


def show_one_scene(one: Floats, other: Floats) -> bool:
    """Of two thumbnails (SIDE, SIDE) in grey levels. Two without anything to be seen do if they are equally bright."""
    if is_flat(one) and is_flat(other):
        return bool(abs(one.mean() - other.mean()) < NOISE)
    placed = _place(one, other)
    if placed is None:
        return False
    window, transform = placed
    structure = _structure(one[window])
    return any(
        _agreement(structure, _structure(_moved(other, better)[window])) >= LEAST_AGREEMENT
        for better in _refinements(one, other, transform, window)
    )


def is_flat(thumbnail: npt.NDArray[Any]) -> bool:
    """Whether nothing is to be seen in a thumbnail (SIDE, SIDE) of greys; an object on an even ground is something."""
    return int(thumbnail.max()) - int(thumbnail.min()) < 2 * NOISE


def _place(one: Floats, other: Floats) -> tuple[Window, Floats] | None:
    """Where in `one` the middle of `other` lies, and the transform (2, 3) from one to other; None: nowhere."""
    best, place = LEAST_CORRELATION, (0, 0, 0)
    structure = _structure(one)
    for side in SIDES:
        how = cv2.INTER_AREA if side < SIDE else cv2.INTER_LINEAR
        zoomed = _structure(np.asarray(cv2.resize(other, (side, side), interpolation=how), np.float32))
        margin = (side - INSIDE) // 2
        middle = zoomed[margin : margin + INSIDE, margin : margin + INSIDE]
        _, correlation, _, (left, top) = cv2.minMaxLoc(cv2.matchTemplate(structure, middle, cv2.TM_CCOEFF_NORMED))
        if correlation > best:
            best, place = correlation, (side, left, top)
    side, left, top = place
    if not side:
        return None
    scale, margin = SIDE / side, (side - INSIDE) // 2
    shift_x, shift_y = ((margin - corner + 0.5) * scale - 0.5 for corner in (left, top))
    transform = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float32)
    return (slice(top, top + INSIDE), slice(left, left + INSIDE)), transform


def _refinements(one: Floats, other: Floats, transform: Floats, window: Window) -> Iterator[Floats]:
    """The transform, then better ones; a search that finds none gives none."""
    yield transform
    inside = np.zeros((SIDE, SIDE), np.uint8)
    inside[window] = 1
    for motion in _MOTIONS:
        with suppress(cv2.error):
            _, found = cv2.findTransformECC(one, other, transform.copy(), motion, _SEARCH_ENDS, inside, 3)
            yield np.asarray(found, np.float32)


def _moved(picture: Floats, transform: Floats) -> Floats:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture, transform, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _structure(picture: Floats) -> Floats:
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), COARSE), np.float32)


def _agreement(one: Floats, other: Floats) -> float:
    """Of two structures, -1 to 1, in the place where they agree least; contrast as a whole does not count."""
    other = other * float((one * other).sum() / max(float((other * other).sum()), 1e-6))
    one_power, other_power, common = (
        cv2.GaussianBlur(product, (0, 0), PLACE) for product in (one * one, other * other, one * other)
    )
    return float(((2 * common + NOISE**2) / (one_power + other_power + NOISE**2)).min())
