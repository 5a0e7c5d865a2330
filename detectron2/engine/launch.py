"""Run a function in one process, or in one process a GPU on one or several machines.

Without CUDA the processes work on the CPU. They communicate over NCCL; without CUDA, and on Windows, over gloo. Under
torchrun the processes exist already, and `launch` only connects them.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from detectron2.utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)
MEETING_TIMEOUT = timedelta(minutes=10)  # for all processes to be there; machines do not start at one moment

logger = logging.getLogger(__name__)


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Call `main_func(*args)` in `num_machines * num_gpus_per_machine` processes that can communicate.

    Call it once on each machine. With one process in all, `main_func` runs in this one. Otherwise processes are
    spawned, so `main_func` and `args` must be picklable and the calling module importable. In a process that torchrun
    started, torchrun's numbers hold and those given here are ignored.

    Args:
        dist_url: where the processes meet, such as "tcp://HOST:PORT"; "auto" finds a free port on a single machine.
        timeout: of each exchange between processes.
    """
    if dist.is_torchelastic_launched():
        _run_under_torchrun(main_func, args, timeout)
        return
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    connection = {"init_method": _meeting_place(dist_url, num_machines), "world_size": world_size, "timeout": timeout}
    _check_devices(num_gpus_per_machine)
    job = (machine_rank * num_gpus_per_machine, num_gpus_per_machine, connection, main_func, args)
    mp.spawn(_run_process, args=job, nprocs=num_gpus_per_machine)


def _meeting_place(dist_url: str | None, num_machines: int) -> str:
    if dist_url is None:
        raise ValueError("several processes need dist_url, such as 'tcp://HOST:PORT', or 'auto' on a single machine")
    if dist_url != "auto":
        return dist_url
    if num_machines > 1:
        raise ValueError("dist_url 'auto' works on a single machine; give 'tcp://HOST:PORT' for several")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def _check_devices(processes: int) -> None:
    if not torch.cuda.is_available():
        logger.warning("CUDA is not available: %d processes share this machine's CPU", processes)
    elif torch.cuda.device_count() < processes:
        raise RuntimeError(f"{processes} GPUs are requested, this machine has {torch.cuda.device_count()}")


def _run_process(
    local_rank: int, first_rank: int, processes: int, connection: dict, main_func: Callable, args: tuple
) -> None:
    with _connected(local_rank, rank=first_rank + local_rank, **connection):
        comm.create_local_process_group(processes)
        comm.synchronize()
        main_func(*args)


def _run_under_torchrun(main_func: Callable[..., Any], args: tuple[Any, ...], timeout: timedelta) -> None:
    if dist.is_initialized() or os.environ["WORLD_SIZE"] == "1":
        main_func(*args)
        return
    with _connected(int(os.environ["LOCAL_RANK"]), init_method="env://", timeout=timeout):
        comm.synchronize()
        main_func(*args)


@contextmanager
def _connected(local_rank: int, *, init_method: str, timeout: timedelta, **options: Any) -> Iterator[None]:
    store, rank, world_size = _meet(init_method, min(timeout, MEETING_TIMEOUT), **options)
    store.set_timeout(timeout)
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(local_rank)
    backend = "nccl" if on_cuda and dist.is_nccl_available() else "gloo"  # on Windows there is no NCCL
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    comm.set_timeout(timeout)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _meet(init_method: str, timeout: timedelta, **options: Any) -> tuple[dist.Store, int, int]:
    """A store that all processes use, this one's rank, and their number; all are there.

    Raises RuntimeError where some are not there in time, as of a machine that failed before it joined, or where the
    port of the meeting is in use.
    """
    try:
        store, rank, world_size = next(dist.rendezvous(init_method, timeout=timeout, **options))
        store.set(f"here/{rank}", "")
        store.wait([f"here/{other}" for other in range(world_size)], timeout)
    except RuntimeError as error:
        if "EADDRINUSE" in str(error):
            raise
        raise RuntimeError(f"some processes have not joined the run within {timeout}: {error}") from error
    return store, rank, world_size
