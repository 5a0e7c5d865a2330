"""Which files below an image folder are masks, and so no images: those of CVAT's LabelMe 3.0 annotations, and those
that tools export in folders of their own."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from active_learning.annotations.cvat_masks import MASKS

_NAME_OF_TOOLS = re.compile(r"_mask_\d+(_\d+)?\.png", re.IGNORECASE)
# CVAT and LabelMe (of Pascal VOC), and Supervisely
_FOLDER_OF_TOOLS = re.compile(r"Segmentation(Class|Object)\w*|masks_(human|machine|instances)")
_OF_LABELME = frozenset(["img.png", "label.png", "label_viz.png"])  # in <stem>_json, with label_names.txt
_NAMED_IN_XML = re.compile(rb"<mask>\s*([^<]+?)\s*</mask>")


def mask_files(folder: Path, files: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], list[str]]:
    """The masks by their paths relative to the folder: PNG files below a folder Masks that have a name as the tools
    give it, or that an xml file around that folder names. A person may keep images in a folder of that name: one that
    an annotation lies beside is an image.

    Args:
        files: from each sub-folder, "" for the folder itself, to the names of its files.

    Returns:
        The masks, and those of them that are masks by nothing but their names, or those of their folders.
    """
    masks: set[str] = set()
    others: dict[str, list[str]] = defaultdict(list)  # from the folder around Masks
    by_name: dict[str, list[str]] = defaultdict(list)  # the same, of those that have a name of tools
    for parent, names in files.items():
        parts = parent.split("/")
        if MASKS not in parts:
            continue
        annotated = _annotated(names)
        for name in names:
            if name.lower().endswith(".png") and annotated.isdisjoint((name, PurePosixPath(name).stem)):
                kind = by_name if _NAME_OF_TOOLS.search(name) else others
                kind["/".join(parts[: parts.index(MASKS)])].append(f"{parent}/{name}")
    for home, paths in others.items():
        named = _masks_named_in(folder / one / name for one in _around(home, files) for name in files[one])
        masks.update(path for path in paths if path.rpartition("/")[2] in named)
    exported = [path for parent, names in files.items() for path in _exported(parent, names)]
    doubtful = [path for home, paths in by_name.items() if not _has_xml(home, files) for path in paths]
    return frozenset(masks).union(exported, *by_name.values()), [*doubtful, *exported]


def _exported(parent: str, names: Sequence[str]) -> list[str]:
    """The files of a folder that a tool's export has made of images and annotations."""
    if any(map(_FOLDER_OF_TOOLS.fullmatch, parent.split("/"))):
        found = [name for name in names if name.lower().endswith((".png", ".jpg"))]
    elif parent.endswith("_json") and "label_names.txt" in names:
        found = [name for name in names if name in _OF_LABELME]
    else:
        return []
    annotated = _annotated(names)
    return [f"{parent}/{name}" for name in found if annotated.isdisjoint((name, PurePosixPath(name).stem))]


def _annotated(names: Iterable[str]) -> set[str]:
    """What the annotation files of a folder are named after."""
    return {PurePosixPath(name).stem for name in names if name.lower().endswith((".json", ".xml"))}


def _around(home: str, folders: Iterable[str]) -> list[str]:
    return [one for one in folders if not home or f"{one}/".startswith(f"{home}/")]


def _has_xml(home: str, files: Mapping[str, Sequence[str]]) -> bool:
    return any(name.lower().endswith(".xml") for one in _around(home, files) for name in files[one])


def _masks_named_in(paths: Iterable[Path]) -> set[str]:
    """The names of masks, without folders, in those of the files that are xml; each is read, not parsed."""
    found: set[str] = set()
    for path in paths:
        if path.suffix.lower() == ".xml":
            with suppress(OSError):  # reported where it is read as an annotation
                names = (name.decode(errors="replace") for name in _NAMED_IN_XML.findall(path.read_bytes()))
                found.update(html.unescape(name).replace("\\", "/").rpartition("/")[2] for name in names)
    return found
