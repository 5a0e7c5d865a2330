"""Communication between the processes of a distributed run; everything also works in a single process.

Rank counts over all machines, local rank within one machine.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# torch types a group of which this process is no member as a number.
_local_group: Any = None
_is_single = False
_timeout: timedelta | None = None


@contextmanager
def single_process() -> Iterator[None]:
    """Inside it this process counts as the only one: its functions do not communicate. The others may wait outside."""
    global _is_single
    before, _is_single = _is_single, True
    try:
        yield
    finally:
        _is_single = before


def _is_distributed() -> bool:
    return not _is_single and dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes over all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """This process's number among all."""
    return dist.get_rank() if _is_distributed() else 0


def set_timeout(timeout: timedelta) -> None:
    """Of each exchange in groups that are made from now on; PyTorch's own 30 minutes (NCCL: 10) hold without.

    A group does not take over the timeout of init_process_group.
    """
    global _timeout
    _timeout = timeout
    _cpu_group.cache_clear()


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make the group of the processes of each machine. Every process calls this once, after init_process_group.

    Raises RuntimeError at a second call, ValueError where the machines do not have equally many processes.
    """
    global _local_group
    if _local_group is not None:
        raise RuntimeError("create_local_process_group was called before in this process")
    if get_world_size() % num_workers_per_machine:
        raise ValueError(f"{get_world_size()} processes cannot be split into machines of {num_workers_per_machine}")
    # new_group is collective: each process takes part in making every machine's group.
    for first in range(0, get_world_size(), num_workers_per_machine):
        ranks = list(range(first, first + num_workers_per_machine))
        group = dist.new_group(ranks, timeout=_timeout)
        if get_rank() in ranks:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """The group of this machine's processes; RuntimeError if create_local_process_group was not called."""
    if _local_group is None:
        raise RuntimeError("there is no local process group: start the processes with detectron2.engine.launch")
    return _local_group


def _started_by_torchrun() -> bool:
    return _local_group is None and dist.is_torchelastic_launched()


def get_local_rank() -> int:
    """This process's number on its machine."""
    if not _is_distributed():
        return 0
    return int(os.environ["LOCAL_RANK"]) if _started_by_torchrun() else dist.get_rank(get_local_process_group())


def get_local_size() -> int:
    """Number of processes on this machine."""
    if not _is_distributed():
        return 1
    if _started_by_torchrun():
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return dist.get_world_size(get_local_process_group())


def is_main_process() -> bool:
    """Whether this is rank 0, the process that writes files."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has called this."""
    if get_world_size() > 1:
        # Naming the device keeps NCCL from guessing it.
        is_nccl = dist.get_backend() == dist.Backend.NCCL
        dist.barrier(device_ids=[torch.cuda.current_device()] if is_nccl else None)


@functools.cache
def _cpu_group() -> Any:
    # Objects travel through CPU memory, which NCCL cannot send. None is the group of all processes.
    return dist.new_group(backend="gloo", timeout=_timeout) if dist.get_backend() == dist.Backend.NCCL else None


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every process's picklable `data`, in rank order, in every process."""
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every process's picklable `data`, in rank order, in process `dst`; an empty list in the others."""
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    gathered = [None] * dist.get_world_size(group) if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered or []


def shared_random_seed() -> int:
    """One random number below 2**31 that all processes agree on. All of them must call this."""
    return all_gather(int(np.random.randint(2**31)))[0]


@torch.no_grad()
def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sum (or mean) over the processes of each scalar tensor, in rank 0 only. All must give the same keys."""
    if get_world_size() == 1 or not input_dict:
        return input_dict
    names = sorted(input_dict)
    values = torch.stack([input_dict[name] for name in names])
    dist.reduce(values, dst=0)
    if average and is_main_process():
        values /= get_world_size()
    return dict(zip(names, values, strict=True))
