"""The GPUs of the settings: which of them PyTorch sees, how many there are, and how it uses their memory."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import platform
import re
import sys
import warnings

from active_learning.errors import SettingsError
from active_learning.system.exit_code import is_main_process
from active_learning.system.wording import counted


def show_devices(cuda_visible_devices: str) -> None:
    """Shows PyTorch these GPUs alone, by the numbers of nvidia-smi; works only before torch is first used.

    CUDA itself would number them from the fastest on. Images of many sizes leave gaps in a GPU's memory, which segments
    that can grow do not have (`_segments_can_grow`). What a user has set in the environment stays; numbers of GPUs that
    it hides are refused.

    Raises:
        SettingsError: the environment leaves fewer GPUs to this program.
    """
    visible = _visible()
    used = devices_to_show(cuda_visible_devices)
    if visible is not None and used not in ("", cuda_visible_devices) and is_main_process():
        where = f"is GPU {used} here (CUDA_VISIBLE_DEVICES={visible})"
        print(f"cuda_visible_devices: {cuda_visible_devices} {where}", flush=True)
    _shown[:] = [used, visible]
    os.environ["CUDA_VISIBLE_DEVICES"] = used
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if _segments_can_grow() and "PYTORCH_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def _segments_can_grow() -> bool:
    """In WSL, the first allocation fails on some GPUs ("CUDA driver error: unknown error")."""
    return sys.platform == "linux" and "microsoft" not in platform.release().lower()


_shown: list[str | None] = []  # by the last call of show_devices: what it has set, and what was set before it


def _visible() -> str | None:
    """What the environment leaves to this program; None for all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _shown[1] if _shown and visible == _shown[0] else visible


def devices_to_show(named: str) -> str:
    """Of the GPUs that a scheduler, or a user, has left to this program those that have the names, else those at these
    places, from 0 on, as PyTorch counts them: the others may be at work for somebody else.

    Raises:
        SettingsError: as `show_devices`.
    """
    visible = _visible()
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
    return ",".join(left[int(place)] for place in ids)


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
    if cuda_visible_devices == "cpu" or not gpu_is_available():
        return 0
    import torch

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
