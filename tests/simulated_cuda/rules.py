"""What CUDA refuses, and what waits for the GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

OnGpu = Callable[[Any], bool]
BOOLEANS = (torch.bool, torch.uint8)
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
# How often an operation waits by itself, as the size or the value of what it gives must be known.
WAITS = {
    "aten::_local_scalar_dense": 1,
    "aten::is_nonzero": 1,
    "aten::equal": 1,
    "aten::nonzero": 1,
    "aten::masked_select": 1,
    "aten::_unique": 1,
    "aten::_unique2": 1,
    "aten::unique_dim": 1,
    "aten::unique_consecutive": 1,
    "aten::bincount": 2,  # minimum and maximum
    "torchvision::nms": 1,
}
# Elsewhere a CPU tensor of no dimension counts as a number.
TAKE_NO_CPU_NUMBER = ("aten::cat", "aten::stack", "aten::mm", "aten::bmm", "aten::addmm", "aten::convolution",
                      "aten::gather", "aten::scatter", "aten::index_select", "torchvision::")  # fmt: skip


def check_devices(name: str, args: Sequence[Any], tensors: Sequence[torch.Tensor], on_gpu: OnGpu) -> None:
    """Raises RuntimeError where CUDA would: tensors of both devices meet."""
    strangers = [tensor for tensor in tensors if not on_gpu(tensor)]
    if name in INDEXING:
        if not on_gpu(args[0]):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu): {name} (simulated)")
        indices = {id(index) for index in args[1]}
        strangers = [tensor for tensor in strangers if id(tensor) not in indices]  # these are copied: see `wait`
    into_cpu = name.endswith("_") and not name.startswith("aten::_foreach") and not on_gpu(args[0])
    strict = name.startswith(TAKE_NO_CPU_NUMBER) or into_cpu
    if any(stranger.dim() > 0 or strict for stranger in strangers):
        shapes = ", ".join(f"{tuple(one.shape)} on {'cuda:0' if on_gpu(one) else 'cpu'}" for one in tensors)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name}: {shapes}; simulated)"
        )


def wait(name: str, args: Sequence[Any], options: dict[str, Any], on_gpu: OnGpu) -> tuple[str, int] | None:
    """What an operation on the GPU waits for, and how often; None: it only starts."""
    if name in WAITS:
        return name.partition("::")[2], WAITS[name]
    if name in INDEXING:
        indices = [index for index in args[1] if index is not None]
        uploads = sum(not on_gpu(index) for index in indices)
        booleans = 0 if _fills_mask(name, args) else sum(index.dtype in BOOLEANS for index in indices)
        times = uploads + booleans
        return ("index by booleans" if booleans else "index from the CPU", times) if times else None
    if name == "aten::repeat_interleave" and options.get("output_size") is None and on_gpu(args[0]):
        return "repeat_interleave", 1
    return None


def _fills_mask(name: str, args: Sequence[Any]) -> bool:
    """x[mask] = number is masked_fill_, which does not wait."""
    if name == "aten::index" or args[2].numel() != 1 or (len(args) > 3 and args[3]):
        return False
    indices = [index for index in args[1] if index is not None]
    return len(indices) == 1 and indices[0].dtype in BOOLEANS
