"""Keeps a second run out of the folders of one that is going on.

The lock is the operating system's, so it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from active_learning.errors import MaskALError
from active_learning.settings import Settings
from active_learning.system.files import is_same_place, write_atomically
from active_learning.system.locks import locked
from active_learning.system.log import logger

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
SECONDS_FOR_THE_REST = 20.0  # worker processes outlive a killed run for some seconds, and hold its lock meanwhile


@contextmanager
def only_run(settings: Settings) -> Iterator[None]:
    """Inside it no other run has this experiment_name in these roots, or writes its image lists to this dataroot.

    Raises:
        MaskALError: another run does; names its host, process and start.
    """
    name = settings.experiment_name
    places = {
        root / f"{name}.lock": f"experiment_name {name!r}" for root in (settings.resultsroot, settings.weightsroot)
    }
    places[settings.dataroot / "image_lists.lock"] = f"dataroot {settings.dataroot}"
    taken: list[Path] = []
    with ExitStack() as held:
        for path, what in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not any(path.name == one.name and is_same_place(path.parent, one.parent) for one in taken):
                taken.append(path)
                held.enter_context(_locked(path.resolve(), what))
        yield


@contextmanager
def only_annotated_here(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Inside it no other run fills, or collects from, the annotate folder of this image folder.

    Two runs may share their images. True where the folder is this run's; with `wait` it gets it when the other is done.
    """
    text = "Another run has images of %s annotated. This one goes on when that is done."
    with locked(folder / ".annotate.lock", partial(logger.info, text, folder), wait=wait) as is_ours:
        yield is_ours


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    holder = path.with_name(f"{path.name}.holder")
    lock = FileLock(path)
    for file, is_ours in ((path, _size(path) == 0), (holder, _size(holder) == 0 or _read(holder))):
        if not is_ours:
            raise MaskALError(f"{file}: is not MaskAL's, which keeps a lock of that name; move it elsewhere")
    try:
        _acquire(lock, holder, what)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        logger.warning("%s: this disk knows no locks (%s); see to it that no second run is started", path, error)
        yield
        return
    with ExitStack() as undo:
        undo.callback(lock.release)
        undo.callback(_remove, holder)
        started = datetime.now().astimezone().isoformat(" ", "seconds")
        write_atomically(holder, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": started}))
        yield


def _acquire(lock: FileLock, holder: Path, what: str) -> None:
    try:
        lock.acquire(timeout=SECONDS_FOR_THE_REST if _has_died(_read(holder)) else 0)
    except Timeout as error:
        other = _read(holder)
        who = f"on {other.get('host')}, process {other.get('pid')}, started {other.get('start')}" if other else "here"
        raise MaskALError(
            f"another run with {what} is going on ({who}); wait until it has ended, end it with Ctrl-C, or choose "
            f"another {what.split()[0]}. The lock is {lock.lock_file}"
        ) from error


def _remove(holder: Path) -> None:
    """One that stays says nothing without its lock; a disk that fails has failed before, which is to be reported."""
    with suppress(OSError):
        holder.unlink()


def _size(path: Path) -> int:
    """In bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(holder: Path) -> dict[str, object]:
    """Empty where it is not written yet."""
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_died(holder: dict[str, object]) -> bool:
    """As far as this machine can know."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or type(pid) is not int or not 0 < pid < 2**31 or os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError) as error:
        return isinstance(error, ProcessLookupError)
    return False
