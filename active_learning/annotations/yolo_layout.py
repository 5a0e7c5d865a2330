"""Where YOLO data sets keep images and label files, and what a label file looks like."""

from __future__ import annotations

import codecs
import re
from pathlib import Path, PurePosixPath

from active_learning.annotations.documents import GIT_LFS

IMAGES, LABELS = "images", "labels"
SUFFIX = ".txt"
_HEAD_BYTES = 4096
_ROW = re.compile(rb"\d+(\.0*)?([ \t]+[+-]?([\d.,]+([eE][+-]?\d+)?|nan|inf))+", re.IGNORECASE)


def label_path(image: str) -> str:
    """Where the label file of an image lies, both with "/": in the folder `labels` that stands for the last `images`
    in its path; beside it where there is none. So does Ultralytics look for it."""
    parts = [*PurePosixPath(image).with_suffix(SUFFIX).parts]
    at = next((at for at in reversed(range(len(parts) - 1)) if parts[at] == IMAGES), None)
    if at is not None:
        parts[at] = LABELS
    return "/".join(parts)


def looks_like_labels(path: Path) -> bool | None:
    """Whether the first line that holds something is a class number and more numbers; None for a file without any.

    A pointer of Git LFS may stand for such lines: reading it says what to do.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:  # reported when it is read
        return False
    if head.startswith(GIT_LFS):
        return True
    is_cut = len(head) == _HEAD_BYTES
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows' shell writes; refused when it is read
        head = head.decode("utf-16", "ignore").encode("utf-8", "ignore")
    lines = [line.strip() for line in head.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    if is_cut:
        lines[-1] = b" ".join(lines[-1].split()[:-1])  # the last number may be cut
    first = next((line for line in lines if line and not line.startswith(b"#")), None)
    return None if first is None else _ROW.fullmatch(first) is not None
