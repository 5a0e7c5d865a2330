"""Files that bear the name of an image without an annotation, and that nothing reads: an annotation of another kind, or
one that was renamed. Only names are looked at."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from active_learning.annotations.yolo_layout import SUFFIX, looks_like_labels
from active_learning.dataset.image_folder import ANNOTATION_SUFFIXES, FolderSnapshot, annotation_key, claimants
from active_learning.dataset.image_names import is_image
from active_learning.system.files import DRAFT
from active_learning.system.names import normalised, shown
from active_learning.system.wording import counted

# What cameras, phones, image programs and maps put beside an image, or take with it.
_SIDECARS = frozenset(
    [".xmp", ".thm", ".aae", ".pp3", ".dop", ".cos", ".cop", ".on1", ".nksc", ".exif", ".iptc", ".gpx", ".srt", ".lrv",
     ".wav", ".mp3", ".m4a", ".mov", ".mp4", ".avi", ".mts", ".mpg", ".jgw", ".tfw", ".pgw", ".wld", ".prj", ".ovr",
     ".rrd", ".aux", ".hdr", ".heic", ".heif", ".avif", ".gif", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf",
     ".rw2", ".raf", ".pef", ".srw", ".raw", ".psd", ".xcf", ".lock", ".tmp", ".md5", ".sha1", ".sha256", ".db", ".log",
     ".ini", ".lnk", ".url", ".html", ".md", DRAFT]
)  # fmt: skip
_ADDED_BY_TOOLS = re.compile("_(seg|flows|rois?|polygons?|annotations?|labels?)$", re.IGNORECASE)  # after the stem
_HELD_BACK = ".icloud"  # what macOS leaves of a file, hidden, that is stored elsewhere
REMEDY = "; if it is its annotation, save it as one that is read"


def unread_files(snapshot: FolderSnapshot, bare: Collection[str]) -> list[str]:
    """Warnings, a line for each kind of file: the first of it, and how many there are.

    Args:
        bare: the images without an annotation.
    """
    claims, images = claimants(snapshot.images), frozenset(bare)
    found: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for parent, name in _entries(snapshot.files):
        key = _key(name.rstrip("/"), claims)
        if key and (image := _bare_one(claims[key], parent, images)):
            kind = normalised(name).lstrip(".")[len(key) :].lower()
            found[kind].append((snapshot.folder / parent / name, image))
    lines = [_line(kind, files) for kind, files in found.items() if not _are_of_yolo(kind, files[0][0])]
    return [*lines, *_images_without_suffix(snapshot, claims)]


def _entries(files: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Folder and name of what nothing reads, of the texts those apart from images alone: beside them lie remarks and
    label files. Names of folders end with `/`."""
    for parent, names in files.items():
        above, _, own = parent.rpartition("/")
        if annotation_key(own) is not None:
            yield above, f"{own}/"
        has_images = any(map(is_image, names))
        for name in names:
            suffixes = [f".{one.lower()}" for one in name.split(".")[1:]]
            is_hidden = name.startswith(".") and suffixes[-1:] != [_HELD_BACK]
            is_remark = has_images and suffixes[-1:] == [SUFFIX] and not {*suffixes} & {*ANNOTATION_SUFFIXES}
            is_known = is_image(name) or annotation_key(name) is not None or not _SIDECARS.isdisjoint(suffixes)
            if not (is_hidden or is_remark or is_known):
                yield parent, name


def _key(name: str, claims: Collection[str]) -> str:
    """The longest name of an image with which a file's begins, up to a dot; "" for none, and for the name itself."""
    rest = normalised(name).removesuffix("~").lstrip(".")
    while "." in rest:
        rest = rest.rpartition(".")[0]
        for key in (rest, _ADDED_BY_TOOLS.sub("", rest)):
            if key in claims:
                return key
    return ""


def _bare_one(owners: Sequence[str], parent: str, bare: Collection[str]) -> str:
    """Of the images of a name the one beside the file, or else one elsewhere, if it has no annotation."""
    beside = [image for image in owners if image.rpartition("/")[0] == parent]
    return next((image for image in beside or owners if image in bare), "")


def _are_of_yolo(kind: str, path: Path) -> bool:
    """Whether texts are label files, which are reported as such."""
    return kind == SUFFIX and bool(looks_like_labels(path))


def _line(kind: str, files: Sequence[tuple[Path, str]]) -> str:
    path, image = files[0]
    text = f"{path}{'/' if kind.endswith('/') else ''}: bears the name of {shown(image)}, which has no annotation"
    more = f" ({counted(len(files), 'file')} such as *{shown(kind)})" if len(files) > 1 else ""
    if kind.endswith(_HELD_BACK):
        return f"{text}, and stands for a file that is stored elsewhere{more}; download that"
    return f"{text}, and is not read{more}{REMEDY}"


def _images_without_suffix(snapshot: FolderSnapshot, claims: Collection[str]) -> Iterator[str]:
    """Files that an annotation beside them is called after, and no image is; also images that are stored elsewhere."""
    for parent, names in snapshot.files.items():
        keys = {key for name in names if (key := annotation_key(name)) is not None and key not in claims}
        for name in names:
            path = snapshot.folder / parent / name
            if "." not in name and normalised(name) in keys:
                yield f"{path}: an annotation bears its name, but it has no suffix of an image; rename it if it is one"
            inner = name[1:].removesuffix(_HELD_BACK)
            if name.startswith(".") and name.endswith(_HELD_BACK) and is_image(inner) and inner not in names:
                yield f"{path}: stands for an image that is stored elsewhere; download that"
