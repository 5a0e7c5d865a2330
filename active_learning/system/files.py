"""Writing files so that each holds the old or the new content at every moment, and moving folders out of the way."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

DRAFT = ".maskal-draft"  # only this package makes files of that suffix


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which it becomes at the end of the block; makes the folder.

    Where the block fails the draft is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + DRAFT)
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text; makes the folder. What fails leaves the old file as it was."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


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


def folder_aside(folder: Path) -> Path:
    """A new, empty folder beside this one: `<name>.bak-<UTC time>`."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for number in count(1):
        target = folder.with_name(f"{folder.name}.bak-{stamp}{f'-{number}' if number > 1 else ''}")
        with suppress(FileExistsError):
            target.mkdir()
            return target
    raise AssertionError("there are endless numbers")
