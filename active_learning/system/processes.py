"""One process a GPU: the first tells the whole story of a run, the others help where it asks them to.

The helpers know nothing of loops, files or annotations: they sleep until a job comes, do their part in it and sleep
again, for days if a person annotates meanwhile. So the story reads as it does for a single process, only the first
writes, waits and logs, and all end with the same exit code.
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

from active_learning.errors import FailedElsewhere, MaskALError, SettingsError
from active_learning.system.disk_space import disk_failure
from active_learning.system.interruption import GO_ON, INTERRUPTED, interruptible
from active_learning.system.log import mute_log, note

T = TypeVar("T")
FAILURE = 1
PATIENCE = timedelta(days=365)  # helpers wait while a person annotates
GRACE_SECONDS = 8.0  # for all processes to end by themselves
_IN_A_JOB = "failed_in_a_job"


def is_first_process() -> bool:
    """Whether this is not a further process of torchrun; asks its environment, so it costs no import of torch."""
    return os.environ.get("RANK", "0") == "0"


def exit_code_of(story: Callable[..., None], *args: Any, tell_interruption: bool = True) -> int:
    """Runs it; what a user can act on is told on standard error."""
    try:
        with interruptible():
            story(*args)
    except FailedElsewhere as error:
        return error.exit_code
    except MaskALError as error:
        # Every process reads the settings; once is enough to be told of a mistake in them.
        if is_first_process() or not isinstance(error, SettingsError):
            _tell(str(error))
        return error.exit_code
    except OSError as error:
        if not (told := disk_failure(error)):
            raise
        print(f"\n{told}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        if is_first_process() and tell_interruption:
            _tell(f"Interrupted. {GO_ON}")
        return INTERRUPTED
    return 0


def _tell(text: str) -> None:
    print(f"\n{text}", file=sys.stderr)
    note(text)


def run_on_devices(cuda_visible_devices: str, story: Callable[..., None], *args: Any) -> None:
    """Runs the story in one process a GPU, or takes part in it where torchrun has started this process.

    Args:
        story: like `args` picklable; processes on other GPUs are spawned.

    Raises:
        SettingsError: there are fewer GPUs than `cuda_visible_devices` names, or torchrun started more processes.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _check_torchrun(cuda_visible_devices)
        _launch(_take_part, 1, story, args)
        return
    count = _gpus(cuda_visible_devices)
    if count <= 1:
        story(*args)
    else:
        _spawn(count, story, args)


def _gpus(cuda_visible_devices: str) -> int:
    """How many GPUs the settings name; 0 where PyTorch cannot use any."""
    import torch

    if cuda_visible_devices == "cpu" or not torch.cuda.is_available():
        return 0
    named, there = len(cuda_visible_devices.split(",")), torch.cuda.device_count()
    if there < named:
        raise SettingsError(
            f"cuda_visible_devices: {cuda_visible_devices} names {named} GPUs, this machine has {there} of them"
        )
    return named


def _check_torchrun(cuda_visible_devices: str) -> None:
    gpus, processes = _gpus(cuda_visible_devices), int(os.environ["LOCAL_WORLD_SIZE"])
    if 0 < gpus < processes:
        raise SettingsError(
            f"cuda_visible_devices: {cuda_visible_devices} names {gpus} GPU{'s' if gpus > 1 else ''}, but torchrun "
            f"started {processes} processes here; name as many, such as '{','.join(map(str, range(processes)))}'"
        )


def _launch(main: Callable[..., None], count: int, *args: Any) -> None:
    from detectron2.engine import launch

    launch(main, count, dist_url="auto", args=args, timeout=PATIENCE)


def _spawn(count: int, story: Callable[..., None], args: tuple[Any, ...]) -> None:
    from torch.multiprocessing import ProcessExitedException

    try:
        _launch(_take_part_and_exit, count, story, args)
    except KeyboardInterrupt:
        _end(multiprocessing.active_children())
        raise
    except ProcessExitedException as error:
        if error.exit_code > 0:
            raise FailedElsewhere(error.exit_code) from error
        raise MaskALError(
            f"a process was ended from outside ({error}); often the machine's memory was full. The same command goes on"
        ) from error


def _end(processes: Sequence[BaseProcess]) -> None:
    """SIGTERM, unlike Ctrl-C, has reached the parent alone. A process that waits for others does not hear signals."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()


def _take_part_and_exit(story: Callable[..., None], args: tuple[Any, ...]) -> None:
    """In a spawned process, of which the exit code is all that the parent sees. The parent tells of a Ctrl-C."""
    if os.isatty(0):  # multiprocessing puts the null device in its place, and nobody could press Enter
        sys.stdin = os.fdopen(0, closefd=False)
    if code := exit_code_of(_take_part_until_dismissed, story, args, tell_interruption=False):
        sys.exit(code)


def _take_part_until_dismissed(story: Callable[..., None], args: tuple[Any, ...]) -> None:
    with suppress(FailedElsewhere):  # the parent is to see the first process's failure, not a helper's echo of it
        _take_part(story, args)


def _take_part(story: Callable[..., None], args: tuple[Any, ...]) -> None:
    from detectron2.utils import comm

    if comm.get_world_size() == 1:
        story(*args)
    elif comm.is_main_process():
        _lead(story, args)
    else:
        _help()


@dataclass(frozen=True)
class _Job:
    """A call that every process is to make at the same time."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class _Dismissal:
    """The story has ended."""

    exit_code: int


def _lead(story: Callable[..., None], args: tuple[Any, ...]) -> None:
    from detectron2.utils import comm

    try:
        story(*args)
    except BaseException as error:
        # In the middle of a job the helpers listen to something else; they end when this process does.
        if not hasattr(error, _IN_A_JOB):
            comm.all_gather(_Dismissal(_code(error)))
        raise
    comm.all_gather(_Dismissal(0))


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_code if isinstance(error, MaskALError) else FAILURE


def _help() -> None:
    """Does jobs until dismissed."""
    from detectron2.utils import comm

    mute_log()
    while True:
        job = comm.all_gather(None)[0]
        if isinstance(job, _Dismissal):
            if job.exit_code:
                raise FailedElsewhere(job.exit_code)
            return
        job.function(*job.args, **job.options)


def together(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Calls the function in every process at the same time; returns what it returns in this one, the first.

    The function and what it is given must be picklable.
    """
    from detectron2.utils import comm

    if comm.get_world_size() == 1:
        return function(*args, **options)
    try:
        comm.all_gather(_Job(function, args, options))
        return function(*args, **options)
    except BaseException as error:
        setattr(error, _IN_A_JOB, True)
        raise


def _this_process_alone(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class Ranks:
    """This process among those that share the work; `gather` gives every process the values of all, in rank order."""

    rank: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = _this_process_alone


def ranks() -> Ranks:
    """This process among all."""
    from detectron2.utils import comm

    return Ranks(comm.get_rank(), comm.get_world_size(), comm.all_gather)
