"""Whether what is drawn on the copy of an image fits the image."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from active_learning.dataset.annotation_cache import Signature, signature
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.same_pictures import is_turned
from active_learning.dataset.same_scene import SIDE
from active_learning.errors import MaskALError
from active_learning.system.file_moves import same_content
from active_learning.system.image_files import grey_thumbnail, image_size


def fault_of_copy(folder: Path, image: str) -> str:
    """Why what is drawn on the copy of an image does not fit it: one was turned, mirrored, cropped or resized; else
    "", also where one is gone or damaged, which is reported elsewhere."""
    copy, original = folder / ANNOTATE / image, folder / image
    try:
        return _fault(copy, original, signature(copy), signature(original))
    except (OSError, MaskALError):
        return ""


@lru_cache(maxsize=4096)  # while MaskAL waits, it asks every few seconds
def _fault(copy: Path, original: Path, *_signatures: Signature | None) -> str:
    if not copy.exists() or same_content(copy, original):
        return ""
    here, there = image_size(copy), image_size(original)
    if here != there:
        what = f"has {here[1]} x {here[0]} pixels, and {original} {there[1]} x {there[0]}"
    elif is_turned(grey_thumbnail(copy, SIDE), grey_thumbnail(original, SIDE)):
        what = f"is turned or mirrored against {original}"
    else:
        return ""
    return f"{copy}: {what}: an outline of the one does not fit the other; make both the same image again"
