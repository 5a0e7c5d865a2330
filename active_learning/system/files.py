"""Writing files so that each holds the old or the new content at every moment, and moving folders out of the way."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which it becomes at the end of the block; makes the folder.

    Where the block fails the draft is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
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


def move_aside(folder: Path) -> Path | None:
    """Renames the folder to `<name>.bak-<UTC time>`; None where there is no such folder."""
    if not folder.exists():
        return None
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    target = folder.with_name(f"{folder.name}.bak-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}.bak-{stamp}-{number}")
    folder.rename(target)
    return target
