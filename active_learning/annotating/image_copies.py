"""Whether what is drawn on the copy of an image fits the image."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from active_learning.dataset.annotation_cache import Signature, signature
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import find_images
from active_learning.dataset.image_names import normalised
from active_learning.dataset.same_pictures import is_turned
from active_learning.dataset.same_scene import SIDE
from active_learning.errors import MaskALError
from active_learning.system.file_moves import same_content
from active_learning.system.image_files import grey_thumbnail, image_size


def fault_of_copy(folder: Path, image: str) -> str:
    """Why what is drawn on the copy of an image does not fit it, or is of no use: the copy was turned, mirrored,
    cropped, resized, renamed, or another image stands there; else "", also where one is gone or damaged, which is
    reported elsewhere."""
    copy, original = folder / ANNOTATE / image, folder / image
    seen = signature(copy)
    try:
        if seen is None:
            return _fault_of_name(folder, image, signature(copy.parent), signature(original))
        return _fault_of_picture(folder, image, seen, signature(original))
    except (OSError, MaskALError):
        return ""


# While MaskAL waits, it asks every few seconds: what it found holds as long as the files' signatures.
@lru_cache(maxsize=4096)
def _fault_of_picture(folder: Path, image: str, *_signatures: Signature | None) -> str:
    copy, original = folder / ANNOTATE / image, folder / image
    if same_content(copy, original):
        return ""
    here, there = image_size(copy), image_size(original)
    if other := _same_as(copy, (folder / name for name in find_images(folder))):
        what = f"is {other}, and not {original}"
    elif here != there:
        what = f"has {here[1]} x {here[0]} pixels, and {original} {there[1]} x {there[0]}"
    elif is_turned(grey_thumbnail(copy, SIDE), grey_thumbnail(original, SIDE)):
        what = f"is turned or mirrored against {original}"
    else:
        return ""
    return f"{copy}: {what}: an outline of the one does not fit the other; make both the same image again"


@lru_cache(maxsize=4096)
def _fault_of_name(folder: Path, image: str, *_signatures: Signature | None) -> str:
    """Of a copy that is not there. One of its name in another folder is no matter: annotations are found by names."""
    place, name = folder / ANNOTATE, normalised(Path(image).name)
    strangers = (place / one for one in find_images(place) if not (folder / one).exists()) if place.is_dir() else ()
    if other := _same_as(folder / image, (path for path in strangers if normalised(path.name) != name)):
        return f"{other}: is {image} under another name; give that name back to it, and to what was saved for it"
    return ""


def _same_as(file: Path, others: Iterable[Path]) -> Path | None:
    size = file.stat().st_size
    return next((path for path in others if path.stat().st_size == size and same_content(path, file)), None)
