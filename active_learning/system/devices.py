"""The GPUs of the settings: which of them PyTorch sees, and how many there are."""

from __future__ import annotations

import os

from active_learning.errors import SettingsError
from active_learning.system.wording import counted


def show_devices(cuda_visible_devices: str) -> None:
    """Shows PyTorch these GPUs alone; works only before torch is first used."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if cuda_visible_devices == "cpu" else cuda_visible_devices


def gpu_count(cuda_visible_devices: str) -> int:
    """How many GPUs the settings name; 0 where PyTorch cannot use any.

    Raises:
        SettingsError: this machine has fewer.
    """
    import torch

    if cuda_visible_devices == "cpu" or not torch.cuda.is_available():
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
