"""Whether somebody is saving a file at this moment, and what a file holds once that is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from active_learning.errors import MaskALError

SECONDS_TO_SAVE = 1.0  # longer than an editor or a tool takes
READINGS = 6  # of a file that is wrong

Signature = tuple[int, ...]  # changes with the file
T = TypeVar("T")


def signature(path: Path) -> Signature | None:
    """None where the file cannot be reached."""
    try:
        status = path.stat()
    except OSError:  # replaced at this moment; reading it raises what there is to report
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def is_just_saved(path: Path) -> bool:
    """By the clock of this machine: that of a drive of the network may differ, and then nothing is waited for."""
    seen = signature(path)
    return seen is not None and abs(time.time() - seen[0] / 1e9) < SECONDS_TO_SAVE


def is_being_written(folder: Path) -> bool:
    """Whether something below it has just changed, came or went, by the clock of this machine."""
    newest = 0.0
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in files)):  # noqa: PTH118 (thousands)
            with suppress(OSError):  # gone at this moment
                status = os.stat(path)  # noqa: PTH116
                newest = max(newest, status.st_mtime, status.st_ctime)
    return abs(time.time() - newest) < SECONDS_TO_SAVE


def modification_times(folder: Path) -> dict[str, int]:
    """Of all files below it; changes with every file that is saved."""
    walk = os.walk(folder)
    return times_of(os.path.join(place, name) for place, _, files in walk for name in files)  # noqa: PTH118 (thousands, twice a second)


def times_of(files: Iterable[str]) -> dict[str, int]:
    """When they were changed, in nanoseconds; 0 for those that are not there."""
    times = {}
    for path in files:
        try:
            times[path] = os.stat(path).st_mtime_ns  # noqa: PTH116
        except OSError:  # replaced at this moment
            times[path] = 0
    return times


def quiet_check(folder: Path, seconds: float) -> Callable[[], bool]:
    """A function that returns whether no file of the folder has changed for so long."""
    before, since = modification_times(folder), time.monotonic()

    def is_quiet() -> bool:
        nonlocal before, since
        now = modification_times(folder)
        if now != before:
            before, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    return is_quiet


def settled(read: Callable[[], T], in_use: T) -> T:
    """What a file holds that a person may be saving: `in_use`, or what `read` returns twice, as a half-saved file may
    be wrong, or right and lack its end; of one that never settles, the last.

    Raises:
        MaskALError: that of `read`, where it lasts.
    """
    before: T | None = in_use
    for left in reversed(range(READINGS)):
        try:
            now = read()
        except MaskALError:
            if not left:
                raise
            before = None
        else:
            if now in (in_use, before):
                break
            before = now
        time.sleep(SECONDS_TO_SAVE)
    return now
