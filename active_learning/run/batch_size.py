"""`--find-batch-size`: how large `train_batch_size` may be on the GPUs of the settings. Changes nothing."""

from __future__ import annotations

from active_learning.errors import MaskALError
from active_learning.network.network_config import network_config
from active_learning.settings import Settings
from active_learning.settings.keys import LARGEST_BATCH
from active_learning.system.devices import gpu_count, why_no_gpu
from active_learning.system.wording import counted


def describe_batch_size(settings: Settings) -> str:
    """The largest for which there is memory, in words; of GPUs that differ the smallest decides.

    Raises:
        MaskALError: there is no GPU, or its memory is too small for one image.
    """
    gpus = gpu_count(settings.cuda_visible_devices)
    if gpus == 0:
        reason = why_no_gpu() if settings.cuda_visible_devices != "cpu" else ""
        raise MaskALError(
            "--find-batch-size: no GPU is in use (cuda_visible_devices: "
            f"{settings.cuda_visible_devices}), and on a processor more images at once are not faster"
            f"{reason and f'. PyTorch says: {reason}'}"
        )
    name, images = _on_smallest(settings, gpus)
    each = f", {images} on each of {counted(gpus, 'GPU')}" if gpus > 1 else ""
    return f"train_batch_size can be at most {images * gpus}{each} ({name})"


def _on_smallest(settings: Settings, gpus: int) -> tuple[str, int]:
    """The GPU with the least memory, in words, and how many images a step on it can have."""
    import torch

    from active_learning.network.batch_size import largest_batch_that_fits, largest_size
    from active_learning.network.training_failures import memory_remedy, memory_shortage_named

    properties = [torch.cuda.get_device_properties(index) for index in range(gpus)]
    smallest = min(range(gpus), key=lambda index: properties[index].total_memory)
    torch.cuda.set_device(smallest)
    cfg = network_config(settings, settings.experiments()[0])
    (height, width), memory = largest_size(cfg), properties[smallest].total_memory / 2**30
    name = f"{properties[smallest].name}, {memory:.1f} GiB; images of {width} x {height} pixels"
    cfg.SOLVER.IMS_PER_BATCH = 1  # what cannot be lowered is no remedy
    too_small = f"The GPU's memory is too small for a batch of one image ({name})"
    with memory_shortage_named(too_small, f". In MaskAL's settings: {memory_remedy(cfg)}"):
        return name, largest_batch_that_fits(cfg, LARGEST_BATCH // gpus)
