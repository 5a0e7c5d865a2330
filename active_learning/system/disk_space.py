"""Full and read-only disks: asked beforehand where much is to be written, and put into words where a write fails."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from active_learning.errors import MaskALError

GO_ON = "what was there before is whole; the same command goes on"
REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your disk quota",
    errno.EFBIG: "raise your limit for the size of files (ulimit -f)",
    errno.EROFS: "mount that disk for writing, or name another folder in the settings",
    errno.EACCES: "change its permissions, or name another folder in the settings",
    errno.EPERM: "change its permissions, or name another folder in the settings",
    errno.EIO: "check whether the disk is broken or was disconnected",
    **dict.fromkeys(
        (errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO), "check whether the drive was disconnected"
    ),
    errno.EMFILE: "raise your limit for open files (ulimit -n), or lower num_workers",
}


def check_space(folder: Path, needed: int, purpose: str, remedy: str) -> None:
    """`needed` in bytes; `purpose` such as "weights and checkpoints"; `remedy` beside freeing space.

    Raises:
        MaskALError: the folder's disk has less.
    """
    free = free_space(folder)
    if free < needed:
        raise MaskALError(
            f"{folder}: {in_words(needed)} are needed for {purpose}, its disk has {in_words(free)} left; "
            f"free some space or {remedy}. The same command goes on"
        )


def free_space(folder: Path) -> int:
    """In bytes, of the disk where the folder is or will be."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def disk_failure(error: OSError) -> str:
    """The file, what happened and the remedy; "" where it is not the disk that failed."""
    if error.errno not in REMEDIES:
        return ""
    place = error.filename2 or error.filename
    file = f"{os.fsdecode(place)}: " if isinstance(place, (str, bytes, os.PathLike)) else ""
    return f"{file}{error.strerror}; {REMEDIES[error.errno]}. Nothing is lost: {GO_ON}"


def in_words(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
