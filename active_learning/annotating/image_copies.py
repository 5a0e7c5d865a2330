"""Whether what is drawn on the copies of images fits the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from active_learning.dataset.absence import is_there
from active_learning.dataset.folder_walk import ANNOTATE
from active_learning.dataset.image_folder import find_images
from active_learning.dataset.same_pictures import is_turned
from active_learning.dataset.same_scene import SIDE
from active_learning.errors import MaskALError
from active_learning.system.file_moves import same_content
from active_learning.system.image_files import grey_thumbnail, image_size
from active_learning.system.names import normalised
from active_learning.system.saving import Signature, signature


def fault_of_copy(folder: Path, image: str) -> str:
    """Why what is drawn on the copy of an image does not fit it: one was turned, mirrored, cropped or resized, or
    another image of the folder stands there; else "", also where one is gone or damaged, which is reported
    elsewhere."""
    seen = signature(folder / ANNOTATE / image), signature(folder / image)
    with suppress(OSError, MaskALError):
        return "" if None in seen else _fault(folder, image, *seen)
    return ""


@lru_cache(maxsize=4096)  # while MaskAL waits, it asks every few seconds
def _fault(folder: Path, image: str, *_signatures: Signature | None) -> str:
    copy, original = folder / ANNOTATE / image, folder / image
    if same_content(copy, original):
        return ""
    here, there = image_size(copy), image_size(original)
    if other := _same_as(copy, _images_by_size(folder, signature(folder))):
        what = f"is {other}, and not {original}"
    elif here != there:
        what = f"has {here[1]} x {here[0]} pixels, and {original} {there[1]} x {there[0]}"
    elif is_turned(grey_thumbnail(copy, SIDE), grey_thumbnail(original, SIDE)):
        what = f"is turned or mirrored against {original}"
    else:
        return ""
    return f"{copy}: {what}: an outline of the one does not fit the other; make both the same image again"


def renamed_copies(folder: Path, images: Iterable[str]) -> dict[str, str]:
    """From those whose copy has got another name to what is to be done. One of its name in another sub-folder is no
    matter: annotations are found by names."""
    place, found = folder / ANNOTATE, dict[str, str]()
    gone = [image for image in images if not is_there(place / image)]
    with suppress(OSError, MaskALError):
        strangers = _by_size(place / name for name in (find_images(place) if gone and place.is_dir() else ())
                             if not is_there(folder / name))  # fmt: skip
        for image in gone if strangers else ():
            other = _same_as(folder / image, strangers)
            if other is not None and normalised(other.name) != normalised(Path(image).name):
                remedy = "give that name back to it, and to what was saved for it"
                found[image] = f"{other}: is {image} under another name; {remedy}"
    return found


@lru_cache(maxsize=1)
def _images_by_size(folder: Path, _signature: Signature | None) -> Mapping[int, Sequence[Path]]:
    return _by_size(folder / name for name in find_images(folder))


def _by_size(files: Iterable[Path]) -> Mapping[int, Sequence[Path]]:
    found: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        found[file.stat().st_size].append(file)
    return found


def _same_as(file: Path, others: Mapping[int, Sequence[Path]]) -> Path | None:
    """The first of them with the same bytes."""
    return next((path for path in others.get(file.stat().st_size, ()) if same_content(path, file)), None)
