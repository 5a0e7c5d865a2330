"""Locks of the operating system, which end with the process that holds them, however that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

SECONDS_BETWEEN_TRIES = 1.0


@contextmanager
def locked(
    path: Path, report: Callable[[], object], *, unreported_seconds: float = 0.0, wait: bool = True
) -> Iterator[bool]:
    """Inside it no other process is in such a block of this file. True where it is this one's, and on a disk that knows
    no locks, or in a folder that may only be read; False, without `wait`, where another has it.

    Args:
        report: is called where another has it, after `unreported_seconds`, before it is waited for.
    """
    lock = FileLock(path, mode=0o666)  # of whoever comes first, for all who share the folder
    try:
        yield _acquire(lock, report, unreported_seconds, wait=wait)
    finally:
        lock.release()


def _acquire(lock: FileLock, report: Callable[[], object], unreported_seconds: float, *, wait: bool) -> bool:
    with suppress(NotImplementedError, OSError):
        try:
            lock.acquire(timeout=unreported_seconds)
        except Timeout:  # an OSError, too
            if not wait:
                return False
            report()
            lock.acquire(poll_interval=SECONDS_BETWEEN_TRIES)
    return True
