"""Where the images and annotations of a data set lie so that a tool opens them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

SUBSET = "default"  # the folder that CVAT puts around a task without subsets
SUPERVISELY_IMAGES = frozenset([".jpg", ".jpeg", ".jpe", ".bmp", ".png"])  # all others are converted to PNG


@dataclass(frozen=True)
class Place:
    """Paths relative to the folder that is written, with "/"."""

    image: str
    annotation: str


Layout = Callable[[Sequence[str]], dict[str, Place]]  # from the names of images


def labelme(names: Sequence[str]) -> dict[str, Place]:
    """Annotations beside the images."""
    return _side_by_side(names, "", "", ".json")


def cvat(names: Sequence[str]) -> dict[str, Place]:
    """LabelMe 3.0: annotations beside the images, in the folder of a subset."""
    return _side_by_side(names, f"{SUBSET}/", f"{SUBSET}/", ".xml")


def darwin(names: Sequence[str]) -> dict[str, Place]:
    """A release: images here, annotations there."""
    return _side_by_side(names, "images/", "annotations/", ".json")


def supervisely(names: Sequence[str]) -> dict[str, Place]:
    """A project of data sets, one a folder; those of sub-folders lie in `datasets` of the one above."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    root = next(name for name in ("ds0", *(f"ds0_{number}" for number in range(len(tops) + 1))) if name not in tops)
    taken = set(names)
    places = {}
    for name in names:
        path = PurePosixPath(name)
        stored = path
        if path.suffix.lower() not in SUPERVISELY_IMAGES:
            ends = itertools.chain(["", path.suffix], (f"{path.suffix}_{number}" for number in itertools.count(2)))
            free = (path.with_name(f"{path.stem}{end}.png") for end in ends)
            stored = next(one for one in free if str(one) not in taken)
            taken.add(str(stored))
        folder = "/datasets/".join(path.parent.parts) or root
        places[name] = Place(f"{folder}/img/{stored.name}", f"{folder}/ann/{stored.name}.json")
    return places


def _side_by_side(names: Sequence[str], images: str, annotations: str, suffix: str) -> dict[str, Place]:
    """Annotations are named after the stems of the images, or after their names where several share a stem."""
    stems = Counter(str(PurePosixPath(name).with_suffix("")).casefold() for name in names)
    places = {}
    for name in names:
        path = PurePosixPath(name)
        alone = stems[str(path.with_suffix("")).casefold()] == 1
        stem = path.with_suffix("") if alone else path
        places[name] = Place(f"{images}{name}", f"{annotations}{stem}{suffix}")
    return places


LAYOUTS: dict[str, Layout] = {"labelme": labelme, "cvat": cvat, "darwin": darwin, "supervisely": supervisely}
