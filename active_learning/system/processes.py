"""One process a GPU: the main process (rank 0) runs the program, the others are its workers.

A worker knows nothing of loops, files or annotations: it sleeps until a call is to be made on all ranks, makes it and
sleeps again, for days if a person annotates meanwhile. So the program reads as it does for a single process, only the
main process writes, waits and logs, and all end with the same exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from active_learning.errors import FailedElsewhere, MaskALError
from active_learning.system.devices import check_torchrun, gpu_count, release_gpu_memory
from active_learning.system.exit_code import FAILURE, exit_code_of
from active_learning.system.interruption import INTERRUPTED, SECONDS_TO_END
from active_learning.system.log import mute_log
from active_learning.system.rank_watch import watched_ranks

T = TypeVar("T")
WORKER_TIMEOUT = timedelta(days=365)  # workers wait while a person annotates
GRACE_SECONDS = SECONDS_TO_END - 2  # for the others to end by themselves; this process ends them, and then itself
_FAILED_ON_ALL_RANKS = "failed_on_all_ranks"


def run_on_devices(cuda_visible_devices: str, program: Callable[..., None], *args: Any) -> None:
    """Runs the program with one process a GPU, or as the process that torchrun has started here.

    Args:
        program: like `args` picklable; processes on other GPUs are spawned.

    Raises:
        SettingsError: there are fewer GPUs than `cuda_visible_devices` names, or torchrun started more processes.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        check_torchrun(cuda_visible_devices)
        _launch(_run_rank, 1, program, args)
        return
    count = gpu_count(cuda_visible_devices)
    if count <= 1:
        program(*args)
    else:
        _spawn(count, program, args)


def _launch(main: Callable[..., None], count: int, *args: Any) -> None:
    from detectron2.engine import launch

    launch(main, count, dist_url="auto", args=args, timeout=WORKER_TIMEOUT)


def _spawn(count: int, program: Callable[..., None], args: tuple[Any, ...]) -> None:
    from torch.multiprocessing.spawn import ProcessExitedException

    try:
        _launch(_run_spawned_rank, count, program, args)
    except KeyboardInterrupt:
        _end_all(multiprocessing.active_children())
        raise
    except ProcessExitedException as error:
        if error.exit_code > 0:
            raise FailedElsewhere(error.exit_code) from error
        raise MaskALError(
            f"a process was ended from outside ({error}); often the machine's memory was full. The same command goes on"
        ) from error


def _end_all(processes: Sequence[BaseProcess]) -> None:
    """SIGTERM, unlike Ctrl-C, has reached the parent alone. A process that waits for others does not hear signals."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()


def _run_spawned_rank(program: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In a spawned process, of which the exit code is all that the parent sees. The parent reports a Ctrl-C."""
    if os.isatty(0):  # multiprocessing puts the null device in its place, and nobody could press Enter
        sys.stdin = os.fdopen(0, closefd=False)
    if code := exit_code_of(_run_rank_quietly, program, args, report_interruption=False):
        sys.exit(code)


def _run_rank_quietly(program: Callable[..., None], args: tuple[Any, ...]) -> None:
    with suppress(FailedElsewhere):  # the parent is to see the main process's failure, not a worker's echo of it
        _run_rank(program, args)


def _run_rank(program: Callable[..., None], args: tuple[Any, ...]) -> None:
    from detectron2.utils import comm

    if comm.get_world_size() == 1:
        program(*args)
        return
    with watched_ranks(comm.get_rank(), comm.get_world_size(), comm.all_gather):
        if comm.is_main_process():
            _run_main_process(program, args)
        else:
            _run_worker()


@dataclass(frozen=True)
class _Call:
    """What every rank is to call at the same time."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class _End:
    """The program has ended."""

    exit_code: int


def _run_main_process(program: Callable[..., None], args: tuple[Any, ...]) -> None:
    from detectron2.utils import comm

    try:
        program(*args)
    except BaseException as error:
        # In the middle of a call workers listen to something else; they end when this process does.
        if not hasattr(error, _FAILED_ON_ALL_RANKS):
            comm.all_gather(_End(_code(error)))
        raise
    comm.all_gather(_End(0))


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_code if isinstance(error, MaskALError) else FAILURE


def _run_worker() -> None:
    """Makes the calls of the main process until the program has ended."""
    from detectron2.utils import comm

    mute_log()
    while True:
        order = comm.all_gather(None)[0]
        if isinstance(order, _End):
            if order.exit_code:
                raise FailedElsewhere(order.exit_code)
            return
        order.function(*order.args, **order.options)
        release_gpu_memory()


def run_on_all_ranks(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Calls the function in every process at the same time; returns what it returns in this one, the main process.

    The function and what it is given must be picklable.
    """
    from detectron2.utils import comm

    if comm.get_world_size() == 1:
        return function(*args, **options)
    try:
        comm.all_gather(_Call(function, args, options))
        return function(*args, **options)
    except BaseException as error:
        setattr(error, _FAILED_ON_ALL_RANKS, True)
        raise


@dataclass(frozen=True)
class Ranks:
    """This process among those that share the work; `gather` gives every process the values of all, in rank order."""

    rank: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]


def ranks() -> Ranks:
    """This process among all."""
    from detectron2.utils import comm

    return Ranks(comm.get_rank(), comm.get_world_size(), comm.all_gather)
