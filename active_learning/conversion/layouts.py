"""Where the images and annotations of a data set lie so that a tool opens them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from active_learning.annotations import FORMATS, Format
from active_learning.annotations.yolo_layout import IMAGES, label_path

SUPERVISELY_IMAGES = frozenset([".jpg", ".jpeg", ".jpe", ".bmp", ".png"])  # all others are converted to PNG
YOLO_IMAGES = frozenset([".jpg", ".jpeg", ".bmp", ".png", ".tif", ".tiff", ".webp"])  # of any Ultralytics; as above


@dataclass(frozen=True)
class Place:
    """Paths relative to the folder that is written, with "/"."""

    image: str
    annotation: str


def places_of(tool: str, names: Sequence[str]) -> dict[str, Place]:
    """From the names of images to their places in an export of that tool."""
    own_layout = OWN_LAYOUTS.get(tool)
    return own_layout(names) if own_layout is not None else _side_by_side(names, FORMATS[tool])


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


def yolo(names: Sequence[str]) -> dict[str, Place]:
    """Images in a folder of that name, label files where Ultralytics looks for them. As both share a stem, an image
    whose stem is taken is named anew."""
    owners: dict[str, str] = {}
    for name in names:
        owners.setdefault(_stem(name), name)
    taken = set(owners)
    places = {}
    for name in names:
        path = PurePosixPath(name)
        stored = path if path.suffix.lower() in YOLO_IMAGES else path.with_suffix(".png")
        if owners[_stem(name)] != name:
            ends = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
            free = (path.with_name(f"{path.name}{end}{stored.suffix}") for end in ends)
            stored = next(one for one in free if _stem(str(one)) not in taken)
            taken.add(_stem(str(stored)))
        places[name] = Place(f"{IMAGES}/{stored}", label_path(f"{IMAGES}/{stored}"))
    return places


def _side_by_side(names: Sequence[str], tool: Format) -> dict[str, Place]:
    """In folders of the tool's own; annotations are named after the stems of the images, or after their names where
    several share a stem, or the stem is another image's name."""
    images, annotations = tool.folders
    taken = Counter(key for name in names for key in (_stem(name), name.casefold()))
    places = {}
    for name in names:
        path = PurePosixPath(name)
        alone = taken[_stem(name)] == 1
        base = path.with_suffix("") if alone and not tool.named_after_image else path
        places[name] = Place(f"{images}{name}", f"{annotations}{base}{tool.suffix}")
    return places


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


OWN_LAYOUTS = {"supervisely": supervisely, "yolo": yolo}  # of tools whose exports are more than two folders
