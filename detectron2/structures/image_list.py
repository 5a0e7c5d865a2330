"""Images of different sizes in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.utils.errors import InputError


class ImageList:
    """Images padded at the right and bottom to one size.

    `tensor` is NxHxW or NxCxHxW; `image_sizes` holds each image's (height, width) before padding.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """One image without its padding, as a view."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> ImageList:
        """Batch images of (C, H, W) or (H, W), equal in all but the last two dimensions.

        Args:
            tensors: at least one.
            size_divisibility: the batch's height and width are rounded up to multiples of it; 0 and 1 leave them.
            pad_value: value of the padding.
            padding_constraints: `square_size` (pixels; 0 for none) pads to a square of that size, `size_divisibility`
                goes before the argument of the same name.

        Raises ValueError for no images, unequal channels and images larger than `square_size`.
        """
        if len(tensors) == 0:
            raise InputError("ImageList.from_tensors: no images")
        if len({tuple(map(int, tensor.shape[:-2])) for tensor in tensors}) > 1:
            raise InputError(f"images differ in channels: shapes {[tuple(tensor.shape) for tensor in tensors]}")
        constraints = padding_constraints or {}
        sizes: Any = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
        if torch.jit.is_tracing():  # where they are tensors, that must hold for other images too
            sizes = [torch.stack(size) for size in sizes]
        stride = constraints.get("size_divisibility", size_divisibility)
        height, width = _batch_size(sizes, stride, constraints.get("square_size", 0))
        if len(tensors) == 1:
            batch = F.pad(tensors[0], (0, width - sizes[0][1], 0, height - sizes[0][0]), value=pad_value)[None]
        else:
            batch = tensors[0].new_full((len(tensors), *tensors[0].shape[:-2], height, width), pad_value)
            for i, (tensor, (h, w)) in enumerate(zip(tensors, sizes, strict=True)):
                batch[i, ..., :h, :w] = tensor
        return ImageList(batch.contiguous(), sizes)


def _batch_size(sizes: Any, stride: int, square_size: int) -> tuple[int, int]:
    traced = isinstance(sizes[0], Tensor)
    height, width = torch.stack(sizes).amax(dim=0) if traced else (max(side) for side in zip(*sizes, strict=True))
    if square_size > 0:
        if max(height, width) > square_size:
            raise InputError(f"an image of {height} x {width} does not fit the square_size of {square_size}")
        height = width = square_size
    if stride > 1:
        height, width = -(-height // stride) * stride, -(-width // stride) * stride
    return height, width
