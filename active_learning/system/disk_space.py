"""Full disks and other faults of the system, in words; space is asked for where much is to be written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from active_learning.errors import MaskALError

FEW_FILES = 16
GO_ON = "what was there before is whole; the same command goes on"
_DISCONNECTED = "check whether that drive was disconnected"
REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your disk quota",
    errno.EFBIG: "raise your limit for the size of files (ulimit -f), or use a disk that takes larger files",
    errno.EROFS: "mount that disk for writing, or name another folder in the settings",
    errno.EACCES: "change its permissions, or name another folder in the settings",
    errno.EPERM: "change its permissions, or name another folder in the settings",
    errno.EIO: "check whether the disk is broken or was disconnected",
    errno.EMFILE: "raise your limit for open files (ulimit -n), or lower num_workers",
    errno.ENFILE: "end some other programs: the machine has too many files open",
    errno.ENAMETOOLONG: "shorten that name, or name a folder with a shorter path in the settings",
    errno.EILSEQ: "rename it: that disk takes no such characters",
    errno.EINVAL: "rename it, or name a folder on another disk in the settings: that disk does not take it",
    errno.EBUSY: "close the program that uses it",
    errno.ETXTBSY: "close the program that uses it",
    errno.ENOTDIR: "a file stands where a folder is needed: rename the file",
    errno.EEXIST: "rename it: it stands where a folder is needed, or is a link to a drive that is not connected",
    errno.EISDIR: "a folder stands where a file is needed: rename the folder",
    errno.ELOOP: "remove the links that lead in a circle",
    errno.EMLINK: "use another disk for this folder",
    errno.ENOMEM: "the machine's memory is full: end some other programs, or lower num_workers",
    errno.ENOENT: "put it back, or " + _DISCONNECTED,
    **dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESTALE), _DISCONNECTED),
    **dict.fromkeys((errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT), _DISCONNECTED),
}

HELD_OPEN = (32, 33)  # by another program: so Windows numbers what it gives the errno of missing permissions


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


def disk_failure(error: OSError, go_on: str = f"Nothing is lost: {GO_ON}") -> str:
    """The file, what happened, the remedy, the disk and how to go on; "" where it is not the system that failed."""
    if not (remedy := remedy_of(error)):
        return ""
    place = error.filename2 or error.filename
    file = os.fsdecode(place) if isinstance(place, (str, bytes, os.PathLike)) else ""
    remedy += f" ({disk_of(Path(file))})" if file and "disk" in remedy else ""
    return f"{f'{file}: ' if file else ''}{error.strerror}; {remedy}. {go_on}"


def reason_and_remedy(error: OSError) -> str:
    """What happened, without the file, and what to do where it is the system that failed."""
    reason = error.strerror or str(error)
    remedy = remedy_of(error)
    return f"{reason}; {remedy}" if remedy else reason


def remedy_of(error: OSError) -> str:
    """Empty where it is not the system that failed."""
    if getattr(error, "winerror", None) in HELD_OPEN:
        return REMEDIES[errno.EBUSY]
    return "" if error.errno is None else REMEDIES.get(error.errno, "")


def disk_of(path: Path) -> str:
    """Where the disk of a file, that may not be there yet, is mounted, and what it has left."""
    try:
        existing = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        mount = next(place for place in (existing.resolve(), *existing.resolve().parents) if place.is_mount())
        usage = shutil.disk_usage(existing)
    except OSError:
        return "not there to be asked for its space"
    left = f"mounted at {mount}, {in_words(usage.free)} of {in_words(usage.total)} left"
    return f"{left}, but hardly room for another file" if _is_full_of_files(existing) else left


def _is_full_of_files(place: Path) -> bool:
    """Some file systems can hold a number of files, beside their size; of others it is unknown."""
    if not hasattr(os, "statvfs"):
        return False
    status = os.statvfs(place)
    return 0 <= status.f_favail < FEW_FILES < status.f_files or 0 < status.f_files <= FEW_FILES


def in_words(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
