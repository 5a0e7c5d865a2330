"""Communication between the processes of a distributed run; everything also works in a single process.

Rank counts over all machines, local rank within one machine.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# torch types a group of which this process is no member as a number.
_local_group: Any = None
_is_alone = False


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and not _is_alone


@contextmanager
def alone() -> Iterator[None]:
    """Inside it this process counts as the only one, for work that the others have no part in."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def get_world_size() -> int:
    """Number of processes over all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """This process's number among all."""
    return dist.get_rank() if _is_distributed() else 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make the group of the processes of each machine. Every process calls this once, after init_process_group.

    Raises:
        RuntimeError: called twice.
        ValueError: the machines do not have equally many processes.
    """
    global _local_group
    if _local_group is not None:
        raise RuntimeError("create_local_process_group was called before in this process")
    if get_world_size() % num_workers_per_machine:
        raise ValueError(f"{get_world_size()} processes cannot be split into machines of {num_workers_per_machine}")
    machine = get_rank() // num_workers_per_machine
    for i in range(get_world_size() // num_workers_per_machine):
        # new_group is collective: each process takes part in making every machine's group.
        ranks = list(range(i * num_workers_per_machine, (i + 1) * num_workers_per_machine))
        group = dist.new_group(ranks)
        if i == machine:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """The group of this machine's processes.

    Raises:
        RuntimeError: create_local_process_group was not called.
    """
    if _local_group is None:
        raise RuntimeError("there is no local process group: start the processes with detectron2.engine.launch")
    return _local_group


def get_local_rank() -> int:
    """This process's number on its machine."""
    if not _is_distributed():
        return 0
    if _local_group is None and dist.is_torchelastic_launched():
        return int(os.environ["LOCAL_RANK"])
    return dist.get_rank(group=get_local_process_group())


def get_local_size() -> int:
    """Number of processes on this machine."""
    if not _is_distributed():
        return 1
    if _local_group is None and dist.is_torchelastic_launched():
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return dist.get_world_size(group=get_local_process_group())


def is_main_process() -> bool:
    """Whether this is rank 0, the process that writes files."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        # Naming the device keeps NCCL from guessing it.
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@functools.cache
def _gloo_group() -> Any:
    return dist.new_group(backend="gloo")


def _cpu_group() -> Any:
    # Objects travel through CPU memory, which NCCL cannot send.
    return _gloo_group() if dist.get_backend() == dist.Backend.NCCL else dist.group.WORLD


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every process's picklable `data`, in rank order, in every process."""
    if get_world_size() == 1:
        return [data]
    group = _cpu_group() if group is None else group
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] = [None] * size
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Every process's picklable `data`, in rank order, in process `dst`; an empty list in the others."""
    if get_world_size() == 1:
        return [data]
    group = _cpu_group() if group is None else group
    size = dist.get_world_size(group)
    if size == 1:
        return [data]
    gathered: list[Any] | None = [None] * size if dist.get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered if gathered is not None else []


def shared_random_seed() -> int:
    """One random number below 2**31 that all processes agree on. All of them must call this."""
    return all_gather(int(np.random.randint(2**31)))[0]


def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sum (or mean) over the processes of each scalar tensor. Only rank 0 gets the full result.

    All processes must give the same keys.
    """
    world_size = get_world_size()
    if world_size == 1 or not input_dict:
        return input_dict
    names = sorted(input_dict)
    with torch.no_grad():
        values = torch.stack([input_dict[name] for name in names])
        dist.reduce(values, dst=0)
        if average and dist.get_rank() == 0:
            values /= world_size
    return dict(zip(names, values, strict=True))
