"""Detections of several images at once, as many as the GPU's memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from active_learning.network.detection_crops import cut_masks
from active_learning.network.image_batches import ImageInput
from active_learning.network.training_failures import memory_shortage_named
from detectron2.structures import Instances
from detectron2.utils.memory import none_if_cuda_oom


def detect_batch(network: Any, batch: Sequence[ImageInput]) -> list[Instances]:
    """Of each image, at the network's resolution, masks inside their boxes: whole masks of all would take much memory.

    Image by image where the memory is too small for the batch, and each once more with the cache emptied.

    Args:
        network: for inference.
        batch: of one shape.

    Raises:
        MaskALError: the GPU's memory is too small for one image.
    """
    found = none_if_cuda_oom(_infer, network, batch)
    if found is not None:
        return found
    if len(batch) > 1:
        return [detect_batch(network, [image])[0] for image in batch]
    too_small = f"{batch[0].name}: the GPU's memory is too small for this image"
    with memory_shortage_named(too_small, "; lower image_max_size and image_min_size, or use the CPU"):
        return _infer(network, batch)


def masks_as_crops(found: Instances, height: int, width: int) -> Instances:
    """`cut_masks`; on the processor where the GPU's memory is too small."""
    cut = none_if_cuda_oom(cut_masks, found, height, width)
    return cut_masks(found.to("cpu"), height, width) if cut is None else cut


@torch.no_grad()
def _infer(network: Any, batch: Sequence[ImageInput]) -> list[Instances]:
    found: list[Instances] = network.inference([image.content for image in batch], do_postprocess=False)
    return found
