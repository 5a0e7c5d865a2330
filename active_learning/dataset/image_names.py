"""Names of images: relative paths with `/`, which lists hold one a line, and which compare NFC-normalised."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from active_learning.errors import MaskALError
from active_learning.system.files import LONGEST_NAME
from active_learning.system.names import names_alike, normalised
from active_learning.system.wording import and_more

IMAGE_SUFFIXES = frozenset(
    [".bmp", ".dib", ".jpeg", ".jpg", ".jpe", ".jp2", ".png", ".pbm", ".pgm", ".ppm", ".sr", ".ras", ".tiff", ".tif",
     ".webp"]
)  # fmt: skip
_NUMBERED = re.compile(r"item_\d+\.xml", re.IGNORECASE)
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", "(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATES = f"{_YEAR}{_MONTH}{_DAY}|{_DAY}{_MONTH}{_YEAR}|{_MONTH}{_DAY}{_YEAR}"  # of eight digits
_UPLOAD = re.compile(rf"^(?!000|{_DATES})[0-9a-f]{{8}}-")  # no date, and no number of a camera


def is_image(filename: str) -> bool:
    """By its suffix; hidden files (such as those that macOS puts beside others) are none."""
    return not filename.startswith(".") and os.path.splitext(filename)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def named_by_number(filename: str) -> bool:
    """Whether an xml file has a name of CVAT's, item_000000012.xml, which does not name its image."""
    return _NUMBERED.fullmatch(filename) is not None


def spelled_as(names: Iterable[str], images: Iterable[str]) -> dict[str, str]:
    """From each name to that of the image it compares equal with, or to itself: a run may be copied to a disk that
    stores accents in the other way."""
    names = list(names)
    if all(map(str.isascii, names)):
        return {name: name for name in names}
    spelling = {normalised(image): image for image in images if not image.isascii()}
    return {name: spelling.get(normalised(name), name) for name in names}


def stem_groups(images: Iterable[str]) -> list[list[str]]:
    """The images of one folder that differ in their suffix alone, in groups of two and more."""
    groups: dict[str, list[str]] = defaultdict(list)
    for image in images:
        groups[str(PurePosixPath(normalised(image)).with_suffix("")).casefold()].append(image)
    return [group for group in groups.values() if len(group) > 1]


def other_spellings(path: str) -> Iterator[str]:
    """A path as it was before it became a web address, or an upload of Label Studio."""
    text = unquote(path)
    for one in (text, text.partition("?")[0], text.rpartition("?d=")[2]):
        folder, slash, name = one.rpartition("/")
        yield from (one, folder + slash + _UPLOAD.sub("", name))


def names_of(path: str) -> Iterator[str]:
    """The name that an annotation gives to an image, NFC and without folders, and those that it may have had before."""
    for one in (path, *other_spellings(path)):
        yield normalised(one.replace("\\", "/").rpartition("/")[2])


def check_image_name(name: str) -> str:
    """The name, if it is a relative path that stays inside its folder.

    Raises:
        MaskALError: it is absolute or leads out of the folder.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\x00" in name:
        raise MaskALError(f"image name {name!r}: leads out of the image folder; give a path relative to it")
    return name


def check_names(folder: Path, images: Sequence[str]) -> None:
    """Whether the images of a folder can be told apart, and written in a list, on every system.

    Raises:
        MaskALError: one line for each kind of name that cannot.
    """
    if faults := list(_name_faults(images)):
        raise MaskALError("\n".join(f"{folder}: {fault}; rename them, each with its annotation" for fault in faults))


def _name_faults(images: Sequence[str]) -> Iterator[str]:
    if names := [name for name in images if "\n" in name or "\r" in name]:
        yield f"image names with a line break: {_shown(names)}"
    if names := [name for name in images if not _is_utf_8(name)]:
        yield f"image names that are not UTF-8: {_shown(names)}"
    if names := [name for name in images if PureWindowsPath(name).drive]:
        yield f"image names that begin like a drive of Windows: {_shown(names)}"
    if names := [name for name in images if len(os.fsencode(_annotation_name(name))) > LONGEST_NAME]:
        yield f"image names that leave no room for that of an annotation: {_shown(names)}"
    if groups := names_alike(images):
        names = [" and ".join(map(ascii, group)) for group in groups]
        yield f"image names that are one but for capitals or the form of accents: {and_more(names, 3)}"


def _annotation_name(image: str) -> str:
    """The shortest."""
    return os.path.splitext(image.rpartition("/")[2])[0] + ".json"  # noqa: PTH122


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(names: Iterable[str]) -> str:
    """Escaped: they may tear a line, or be no text."""
    return and_more(list(map(repr, names)), 3)
