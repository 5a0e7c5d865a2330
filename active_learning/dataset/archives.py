"""Archives of annotations, as tools export them: what lies in them."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from active_learning.annotations.yolo_layout import LABELS, SUFFIX
from active_learning.dataset.folder_walk import ARCHIVE_SUFFIXES, UNOPENED_ARCHIVES
from active_learning.dataset.image_folder import annotation_key

MEMBERS = 50  # of a tar file, which has no list of its content
ZIP = ".zip"
DAMAGED_ARCHIVE = (
    OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What `members` raises, and reading one, also of an archive with a password, or of an unknown kind or compression."""


def is_archive(filename: str) -> bool:
    return not filename.startswith(".") and filename.lower().endswith((*ARCHIVE_SUFFIXES, *UNOPENED_ARCHIVES))


def members(path: Path) -> Iterator[PurePosixPath]:
    """Of a zip file all, of a tar file the first."""
    if path.suffix.lower() == ZIP:
        with zipfile.ZipFile(path) as package:
            yield from map(PurePosixPath, package.namelist())
    else:
        with tarfile.open(path) as package:
            yield from (PurePosixPath(member.name) for member in islice(package, MEMBERS))


def is_of_an_image(member: PurePosixPath) -> bool:
    """By its place and name: an annotation or, in a folder `labels`, a label file of YOLO."""
    is_label_file = member.suffix.lower() == SUFFIX and LABELS in member.parent.parts
    return annotation_key(member.name) is not None or is_label_file
