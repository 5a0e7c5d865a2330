"""Writing files so that each holds the old or the new content at every moment, and moving folders out of the way."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text; makes the folder. What fails leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def copy_atomically(source: Path, target: Path) -> None:
    """Copies a file over what stands at the target; makes the folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".tmp")
    shutil.copy2(source, draft)
    draft.replace(target)


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
