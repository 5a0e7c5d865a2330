"""The GPUs of the settings: which of them PyTorch sees, how many there are, and how it uses their memory."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import re
import sys
import warnings

from active_learning.errors import SettingsError
from active_learning.system.wording import counted


def show_devices(cuda_visible_devices: str) -> None:
    """Shows PyTorch these GPUs alone, by the numbers of nvidia-smi; works only before torch is first used, and once.

    CUDA itself would number them from the fastest on. Images of many sizes leave gaps in a GPU's memory, which segments
    that can grow do not have. What a user has set in the environment stays; of GPUs that it hides none is shown.

    Raises:
        SettingsError: the environment leaves fewer GPUs to this program.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = _among_visible(cuda_visible_devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if sys.platform == "linux" and "PYTORCH_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def _among_visible(named: str, visible: str | None) -> str:
    """Of the GPUs that a scheduler, or a user, has left to this program (None: all) those that have the names, else
    those at these places, from 0 on, as PyTorch counts them: the others may be at work for somebody else."""
    if named == "cpu" or visible is None:
        return "" if named == "cpu" else named
    left, ids = _ids(visible), named.split(",")
    if not left or set(ids) <= set(left) or not all(map(str.isdecimal, ids)):
        return named if left else ""
    if max(map(int, ids)) >= len(left):
        raise SettingsError(
            f"cuda_visible_devices: {named} is not among the GPUs that the environment leaves to this program "
            f"(CUDA_VISIBLE_DEVICES={visible}); name some of these, or their places there, from 0 to {len(left) - 1}"
        )
    used = ",".join(left[int(place)] for place in ids)
    if os.environ.get("RANK", "0") == "0":
        print(f"cuda_visible_devices: {named} is GPU {used} here (CUDA_VISIBLE_DEVICES={visible})", flush=True)
    return used


def _ids(visible: str) -> list[str]:
    """As CUDA reads them: up to the first that is none."""
    ids = (one.strip() for one in visible.split(","))
    return list(itertools.takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, ids))


def gpu_is_available() -> bool:
    """Whether PyTorch can use one."""
    import torch

    why_no_gpu()
    return torch.cuda.is_available()


@functools.cache
def why_no_gpu() -> str:
    """What PyTorch has against the GPUs, such as a driver that is too old; "" where it says nothing.

    Cached: it says so once in a process.
    """
    import torch

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        return ""
    if torch.version.cuda is None:
        return "this PyTorch was installed for processors alone"
    return " ".join(str(warning.message).partition(" (Triggered internally")[0] for warning in heard)


def release_gpu_memory() -> None:
    """Hands back what PyTorch keeps for later, for other programs, while there is nothing to compute."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def gpu_count(cuda_visible_devices: str) -> int:
    """How many GPUs the settings name; 0 where PyTorch cannot use any.

    Raises:
        SettingsError: this machine has fewer.
    """
    import torch

    if cuda_visible_devices == "cpu" or not gpu_is_available():
        return 0
    named, there = len(cuda_visible_devices.split(",")), torch.cuda.device_count()
    if there < named:
        raise SettingsError(
            f"cuda_visible_devices: {cuda_visible_devices} names {named} GPUs, this machine has {there} of them"
        )
    return named


def check_torchrun(cuda_visible_devices: str) -> None:
    """Raises SettingsError where torchrun started more processes on this machine than the settings name GPUs."""
    gpus, processes = gpu_count(cuda_visible_devices), int(os.environ["LOCAL_WORLD_SIZE"])
    if 0 < gpus < processes:
        raise SettingsError(
            f"cuda_visible_devices: {cuda_visible_devices} names {counted(gpus, 'GPU')}, but torchrun started "
            f"{processes} processes here; name as many, such as '{','.join(map(str, range(processes)))}'"
        )
