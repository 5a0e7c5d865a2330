"""Which PNG files below an image folder are masks of CVAT's LabelMe 3.0 annotations, and so no images."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from active_learning.annotations.cvat_masks import MASKS

_NAME_OF_TOOLS = re.compile(r"_mask_\d+(_\d+)?\.png", re.IGNORECASE)
_NAMED_IN_XML = re.compile(rb"<mask>\s*([^<]+?)\s*</mask>")


def mask_files(folder: Path, files: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The masks by their paths relative to the folder: PNG files below a folder Masks that have a name as the tools
    give it, or that an xml file around that folder names. A person may keep images in a folder of that name.

    Args:
        files: from each sub-folder, "" for the folder itself, to the names of its files.
    """
    masks: set[str] = set()
    others: dict[str, list[str]] = defaultdict(list)  # from the folder around Masks
    for parent, names in files.items():
        parts = parent.split("/")
        for name in names if MASKS in parts else ():
            if _NAME_OF_TOOLS.search(name):
                masks.add(f"{parent}/{name}")
            elif name.lower().endswith(".png"):
                others["/".join(parts[: parts.index(MASKS)])].append(f"{parent}/{name}")
    for home, paths in others.items():
        around = [one for one in files if not home or f"{one}/".startswith(f"{home}/")]
        named = _masks_named_in(folder / one / name for one in around for name in files[one])
        masks.update(path for path in paths if path.rpartition("/")[2] in named)
    return frozenset(masks)


def _masks_named_in(paths: Iterable[Path]) -> set[str]:
    """The names of masks, without folders, in those of the files that are xml; each is read, not parsed."""
    found: set[str] = set()
    for path in paths:
        if path.suffix.lower() == ".xml":
            with suppress(OSError):  # reported where it is read as an annotation
                names = (name.decode(errors="replace") for name in _NAMED_IN_XML.findall(path.read_bytes()))
                found.update(html.unescape(name).replace("\\", "/").rpartition("/")[2] for name in names)
    return found
