"""Images of two folders that are one picture, saved in two ways: as PNG and JPEG, or smaller. Needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.dataset.near_duplicates import LOW_FREQUENCIES, low_frequencies, read_thumbnails
from active_learning.dataset.overlap import MOST_FOUND, SharedImage
from active_learning.dataset.same_scene import SIDE, Floats, is_flat

LEAST_LIKENESS = 0.995  # cosine of the low frequencies
MOST_DIFFERENCE = 8.0  # grey levels, at each place; pictures saved anew have less than 7, other photographs over 38
BLUR = 2.0  # pixels of a thumbnail: how JPEG files are made small differs in what is finer
ROWS = 256  # of the matrix of likenesses that are there at once


@dataclass(frozen=True)
class Pictures:
    """Of a folder the images in which something is to be seen: their names, `thumbnails` (N, SIDE, SIDE) in grey
    levels, and `lows` (N, frequencies) as of `low_frequencies`."""

    names: Sequence[str]
    thumbnails: npt.NDArray[np.uint8]
    lows: Floats


def read_pictures(folder: Path, images: Sequence[str], most_pixels: int | None = None) -> Pictures:
    """Images that cannot be read are left out."""
    found = read_thumbnails(folder, images, most_pixels, f"looking at {folder}")
    named = {name: one for name, one in found.items() if not is_flat(one)}
    thumbnails = np.array(list(named.values()), np.uint8).reshape(-1, SIDE, SIDE)
    lows = np.array([low_frequencies(one) for one in thumbnails], np.float32).reshape(-1, LOW_FREQUENCIES**2 - 1)
    return Pictures(list(named), thumbnails, lows)


def same_pictures(one: Pictures, other: Pictures) -> list[SharedImage]:
    """The images of the first folder that show what one of the second shows, each with the one most like it; the first
    hundred. Two frames of a camera that stands still are told from one picture by what has moved alone."""
    found: list[SharedImage] = []
    for start in range(0, len(one.names) if other.names else 0, ROWS):
        likeness = one.lows[start : start + ROWS] @ other.lows.T
        best = likeness.argmax(axis=1)
        alike = np.flatnonzero(np.take_along_axis(likeness, best[:, None], 1)[:, 0] > LEAST_LIKENESS)
        for row in alike.tolist():
            index, match = start + row, int(best[row])
            if _difference(one.thumbnails[index], other.thumbnails[match]) < MOST_DIFFERENCE:
                found.append(SharedImage(one.names[index], other.names[match]))
    return found[:MOST_FOUND]


def is_turned(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    """Whether a thumbnail (SIDE, SIDE) in grey levels shows the other one turned or mirrored, and not as it is."""
    if is_flat(one) or _difference(one, other) < MOST_DIFFERENCE:
        return False
    turned = (np.rot90(picture, turns) for picture in (other, np.fliplr(other)) for turns in range(4))
    return any(_difference(one, picture) < MOST_DIFFERENCE for picture in turned)


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Of two thumbnails, where they differ most."""
    difference = cv2.GaussianBlur(one.astype(np.float32) - other.astype(np.float32), (0, 0), BLUR)
    return float(np.abs(difference).max())
