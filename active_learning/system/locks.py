"""Locks of the operating system, which end with the process that holds them, however that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

SECONDS_BETWEEN_TRIES = 1.0


@contextmanager
def locked(path: Path, tell: Callable[[], object], *, seconds_untold: float = 0.0, wait: bool = True) -> Iterator[bool]:
    """Inside it no other process is in such a block of this file. True where it is this one's, and on a disk that knows
    no locks, or in a folder that may only be read; False, without `wait`, where another has it.

    Args:
        tell: says that another has it, before it is waited for, after so many seconds.
    """
    lock = FileLock(path)
    try:
        yield _acquire(lock, tell, seconds_untold, wait=wait)
    finally:
        lock.release()


def _acquire(lock: FileLock, tell: Callable[[], object], seconds_untold: float, *, wait: bool) -> bool:
    with suppress(NotImplementedError, OSError):
        try:
            lock.acquire(timeout=seconds_untold)
        except Timeout:  # an OSError, too
            if not wait:
                return False
            tell()
            lock.acquire(poll_interval=SECONDS_BETWEEN_TRIES)
    return True
