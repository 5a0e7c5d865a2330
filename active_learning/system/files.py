"""Writing files so that each holds the old or the new content at every moment, and moving folders out of the way."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import IO

from active_learning.errors import MaskALError

DRAFT = ".maskal-draft"  # only this package makes files of that suffix
READ_BYTES = 1 << 20
LONGEST_NAME = 255  # bytes of a file's name, on most disks


def with_ending(path: Path, ending: str) -> Path:
    """`<name><ending>` beside a file; a name that would be too long for a disk ends in a checksum before that."""
    name = os.fsencode(path.name)
    if len(name) + len(ending) <= LONGEST_NAME:
        return path.with_name(path.name + ending)
    ending = f"~{zlib.crc32(name):08x}{ending}"
    return path.with_name(name[: LONGEST_NAME - len(ending)].decode(errors="ignore") + ending)


@contextmanager
def write_errors_named(path: Path) -> Iterator[None]:
    """Errors of the system that carry no file's name, as those of writing and closing, or a draft's, get this one."""
    try:
        yield
    except OSError as error:
        named = "" if error.filename is None else os.fsdecode(error.filename)
        if error.errno is not None and (not named or named.startswith(f"{path}{DRAFT}")):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which it becomes at the end of the block; makes the folder.

    Where the block fails the draft is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = with_ending(path, DRAFT)
    try:
        with write_errors_named(path):
            yield draft
        draft.replace(path)
    except BaseException:
        with suppress(OSError):  # of a drive that is gone; what failed first is to be reported
            draft.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text; makes the folder. What fails leaves the old file as it was."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def report_unreadable_folder(error: OSError) -> None:
    """For `os.walk`, which passes over what it cannot read. A folder that was removed at this moment is no fault.

    Raises:
        MaskALError: names the folder and the remedy.
    """
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        reason = f"this folder cannot be read ({error.strerror})"
        raise MaskALError(
            f"{error.filename}: {reason}; change its permissions, check its drive, or move it away"
        ) from error


def lies_in(path: Path, folder: Path) -> bool:
    """Whether it is the folder, or lies in it."""
    places = (path.resolve(), *path.resolve().parents)
    if folder.resolve() in places:
        return True
    return folder.exists() and any(place.exists() and place.samefile(folder) for place in places)


def is_same_place(one: Path, other: Path) -> bool:
    """Whether two paths, however they are written, lead to one file or folder, or will where there is none yet."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The rows as comma-separated lines."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_if_changed(path: Path, text: str) -> None:
    """As `write_atomically`, if the file holds something else."""
    content = text.encode("utf-8")
    if not path.is_file() or path.stat().st_size != len(content) or path.read_bytes() != content:
        write_atomically(path, text)


def copy_atomically(source: Path, target: Path) -> None:
    """Copies a file over what stands at the target; makes the folder."""
    with draft_of(target) as draft:
        shutil.copy2(source, draft)


def file_stamp(path: Path) -> str:
    """A digest of the content, which tells a file from another that takes its name; "" where it cannot be read."""
    digest = hashlib.blake2b(digest_size=10)
    try:
        with path.open("rb") as stream:
            add_content(digest, stream)
    except OSError:
        return ""
    return digest.hexdigest()


def add_content(digest: hashlib.blake2b, stream: IO[bytes]) -> None:
    """Adds what an open file holds to a digest, a piece at a time."""
    while part := stream.read(READ_BYTES):
        digest.update(part)


def folder_aside(folder: Path) -> Path:
    """A new, empty folder beside this one: `<name>.bak-<UTC time>`."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for number in count(1):
        target = folder.with_name(f"{folder.name}.bak-{stamp}{f'-{number}' if number > 1 else ''}")
        with suppress(FileExistsError):
            target.mkdir()
            return target
    raise AssertionError("there are endless numbers")
