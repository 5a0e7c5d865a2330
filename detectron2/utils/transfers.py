"""Copies between the processor and a GPU that make the processor wait seldom.

Whatever the processor reads of a GPU makes it wait until all that was started there is done; the GPU then idles until
it gets more. So what is needed is fetched together, and what the processor knows of a tensor stays with the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LARGE = 2**24  # bytes
_KEPT = "_host_copy"  # attribute of a tensor on a GPU: (its copy, its state when it was copied)


def counting_waits(tensor: Tensor) -> bool:
    """Whether the processor must wait to know how many elements of the tensor have a property.

    Where it must, a form of fixed size is taken, which calculates a little too much.
    """
    return tensor.device.type != "cpu"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; to a GPU it is copied from page-locked memory, without a wait, and is its `host_copy`."""
    if tensor.device.type != "cpu" or device.type != "cuda":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    moved = pinned.to(device, non_blocking=True)
    keep_host_copy(moved, tensor)
    return moved


def host_copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, without gradients, on the processor: fetched from a GPU with one wait for all of them.

    Large ones go by themselves, as together they would be copied twice more.
    """
    tensors = [one.detach().cpu() if one.numel() * one.element_size() > LARGE else one.detach() for one in tensors]
    on_gpu = [one.contiguous() for one in tensors if one.device.type != "cpu"]
    if not on_gpu:
        return tensors
    as_bytes = [one.flatten().view(torch.uint8) for one in on_gpu]
    fetched = torch.cat(as_bytes).cpu().split([len(one) for one in as_bytes])
    # Cloned, so that each begins where its type may.
    copies = (part.clone().view(one.dtype).view(one.shape) for part, one in zip(fetched, on_gpu, strict=True))
    return [one if one.device.type == "cpu" else next(copies) for one in tensors]


def keep_host_copy(tensor: Tensor, copy: Tensor) -> None:
    """Remember what a tensor on a GPU holds, until it is changed in place."""
    if tensor.device.type != "cpu" and not tensor.is_inference():
        setattr(tensor, _KEPT, (copy, _state(tensor)))


def host_copy(tensor: Tensor) -> Tensor:
    """The tensor on the processor, without gradient: itself, what was kept of it, or else fetched with a wait."""
    kept = getattr(tensor, _KEPT, None)
    if kept is not None and kept[1] == _state(tensor):
        return kept[0]  # type: ignore[no-any-return]
    return tensor.detach().cpu()


def _state(tensor: Tensor) -> tuple[int, int]:
    """How often it was changed in place, and where it lies: a deep copy has the attributes, but counts from 0."""
    return tensor._version, tensor.data_ptr()
