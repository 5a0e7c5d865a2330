"""Near-duplicates: images of a folder that show one scene again, as a robot or a phone takes them. Needs no network.

Which images may show one scene is read off the lowest frequencies (discrete cosine transform) of their grey thumbnails,
and of the middle of these, as a camera may have come nearer: a perceptual hash of numbers instead of bits. Such pairs
are then compared by `show_one_scene`. N images.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.dataset.same_scene import SIDE, Floats, is_flat, show_one_scene
from active_learning.errors import MaskALError
from active_learning.system.image_files import grey_thumbnail, image_threads
from active_learning.system.progress import progress
from active_learning.system.saving import signature
from active_learning.system.written_files import write_own

FILE = "near_duplicates.json"
VERSION = 1  # another way to find them makes another one
LOW_FREQUENCIES = 8  # an axis
MIDDLE = slice(3, SIDE - 3)  # what a camera sees that has come nearer by a tenth
LEAST_LIKENESS = 0.75  # cosine of the low frequencies; copies that are zoomed, shifted or brighter have more than 0.84
NEIGHBOURS = (4, 24)  # an image is compared with so many, and then with so many if they are in other groups
ROWS = 256  # of the matrix of likenesses that are there at once

Thumbnail = npt.NDArray[np.uint8]
Groups = Sequence[Sequence[str]]
Pair = tuple[int, int]


def near_duplicates(folder: Path, images: Sequence[str], most_pixels: int | None = None) -> Groups:
    """Groups of two images or more that show one scene; the names in a group, and the groups, are sorted.

    Images that cannot be read are in none.
    """
    found = read_thumbnails(folder, images, most_pixels, f"near-duplicates in {folder}")
    names, thumbnails, joined = list(found), list(found.values()), _Joined(len(found))
    with image_threads(most_pixels) as threads:
        for candidates in (_flat_pairs(thumbnails), *_alike_pairs(thumbnails)):
            pairs = sorted({pair for pair in candidates if not joined.holds(*pair)})
            same = threads.map(lambda pair: _is_one_scene(thumbnails[pair[0]], thumbnails[pair[1]]), pairs)
            bar = progress(same, what=f"comparing images of {folder}", unit="pair", total=len(pairs))
            for pair, one_scene in zip(pairs, bar, strict=True):
                if one_scene:
                    joined.add(*pair)
    return sorted(sorted(names[index] for index in group) for group in joined.groups())


def read_thumbnails(folder: Path, images: Sequence[str], most_pixels: int | None, what: str) -> dict[str, Thumbnail]:
    """(SIDE, SIDE) of each image that can be read; `what` is done, for the progress bar."""
    with image_threads(most_pixels) as threads:
        read = threads.map(lambda name: _read_thumbnail(folder / name, most_pixels), images)
        bar = progress(read, what=what, unit="image", total=len(images))
        return {name: one for name, one in zip(images, bar, strict=True) if one is not None}


def kept_near_duplicates(file: Path, folder: Path, images: Sequence[str]) -> Groups | None:
    """Those that `keep_near_duplicates` wrote; None where images have changed since."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        is_of_these = document["images"] == files_digest(folder, images)
        return [[str(name) for name in group] for group in document["groups"]] if is_of_these else None
    except (OSError, ValueError, TypeError, LookupError):  # it is found anew
        return None


def keep_near_duplicates(file: Path, folder: Path, images: Sequence[str], groups: Groups) -> None:
    document: dict[str, Any] = {"images": files_digest(folder, images), "groups": groups}
    write_own(file, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def files_digest(folder: Path, names: Iterable[str]) -> str:
    """Another one as soon as a file is added, taken away or replaced."""
    content = json.dumps([VERSION, [(name, signature(folder / name)) for name in names]])
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def one_of_each(order: Iterable[str], groups: Groups) -> tuple[list[str], list[str]]:
    """The first of each group with all that are in none, and the others, both in that order."""
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    seen, firsts, others = set[int](), list[str](), list[str]()
    for name in order:
        group = group_of.get(name, -1)
        (others if group in seen else firsts).append(name)
        seen |= {group} - {-1}
    return firsts, others


def _read_thumbnail(path: Path, most_pixels: int | None) -> Thumbnail | None:
    """None for an image that cannot be read."""
    try:
        return grey_thumbnail(path, SIDE, most_pixels)
    except MaskALError:  # reported where the image is used
        return None


def _is_one_scene(one: Thumbnail, other: Thumbnail) -> bool:
    return show_one_scene(one.astype(np.float32), other.astype(np.float32))


def _flat_pairs(thumbnails: Sequence[Thumbnail]) -> Iterator[Pair]:
    """Indices of images in which nothing is to be seen, such as black ones: neighbours in brightness."""
    flat = [index for index, thumbnail in enumerate(thumbnails) if is_flat(thumbnail)]
    flat.sort(key=lambda index: float(thumbnails[index].mean()))
    return ((min(pair), max(pair)) for pair in pairwise(flat))


def _alike_pairs(thumbnails: Sequence[Thumbnail]) -> list[list[Pair]]:
    """Indices of images that may show one scene, the smaller first: the pairs of nearest neighbours, then of further
    ones, of which most are in one group by then."""
    rounds: list[list[Pair]] = [[] for _ in NEIGHBOURS]
    if len(thumbnails) < 2:
        return rounds
    lows = np.stack([low_frequencies(thumbnail) for thumbnail in thumbnails])
    nearer = np.stack([low_frequencies(_resized(thumbnail[MIDDLE, MIDDLE])) for thumbnail in thumbnails])
    for start in range(0, len(lows), ROWS):
        rows = slice(start, start + ROWS)
        likeness = np.maximum(lows[rows] @ lows.T, np.maximum(nearer[rows] @ lows.T, lows[rows] @ nearer.T))
        np.fill_diagonal(likeness[:, start:], -1)  # with itself
        nearest = _largest(likeness, min(NEIGHBOURS[-1], len(lows) - 1))
        alike = np.take_along_axis(likeness, nearest, 1) > LEAST_LIKENESS
        for row, rank in np.argwhere(alike).tolist():
            one, other = start + row, int(nearest[row, rank])
            rounds[bisect_right(NEIGHBOURS, rank)].append((min(one, other), max(one, other)))
    return rounds


def _largest(values: Floats, count: int) -> npt.NDArray[np.int64]:
    """(n, count) where each row's largest values stand, in falling order."""
    places = np.argpartition(values, -count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(values, places, 1), axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)


def _resized(pixels: Thumbnail) -> Thumbnail:
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def low_frequencies(thumbnail: Thumbnail) -> Floats:
    """(63,) of length 1, without brightness and contrast; zeros where nothing is to be seen."""
    low = cv2.dct(thumbnail.astype(np.float32))[:LOW_FREQUENCIES, :LOW_FREQUENCIES].ravel()[1:]
    return np.asarray(low / max(float(np.linalg.norm(low)), 1e-6), np.float32)


class _Joined:
    """Which of `count` things belong together, directly or by others."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, index: int) -> int:
        parent = self._parent
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    def holds(self, one: int, other: int) -> bool:
        return self._root(one) == self._root(other)

    def add(self, one: int, other: int) -> None:
        self._parent[self._root(one)] = self._root(other)

    def groups(self) -> list[list[int]]:
        """Of two or more."""
        found: dict[int, list[int]] = {}
        for index in range(len(self._parent)):
            found.setdefault(self._root(index), []).append(index)
        return [group for group in found.values() if len(group) > 1]
