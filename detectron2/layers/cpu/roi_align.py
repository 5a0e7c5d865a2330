"""RoIAlign (He et al. 2017, Mask R-CNN, section 3) on processors.

A bin is the mean of bilinear interpolations at its sampling points, so a weighted sum of pixels. Taken for all channels
at once, it is several times faster than torchvision's operator, which goes channel by channel. N maps of C channels;
K RoIs; h x w bins of a RoI, each a sum of S weighted pixels, four a sampling point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torch.autograd.function import once_differentiable

# Bounds of memory, in weighted pixels of all bins: of one step, and of what is not left to torchvision's operator.
MAX_BLOCK = 2**20
MAX_PIXELS = 2**24
MAX_SAMPLING_POINTS = 2**15  # along a side of a bin; stands for more


def roi_align(
    maps: Tensor, rois: Tensor, output_size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """torchvision's roi_align of NCHW maps and Kx5 RoIs; weighted sums where maps are 32-bit numbers of a processor."""
    if maps.device.type == "cpu" and maps.dtype == torch.float32:
        bins = _Bins.of(rois.detach(), output_size, scale, sampling_ratio, aligned)
        if bins.weighted_pixels() <= MAX_PIXELS:
            pooled: Tensor = _WeightedSums.apply(maps, bins)
            return pooled
    return torchvision.ops.roi_align(maps, rois, output_size, scale, sampling_ratio, aligned)


@dataclass
class _Bins:
    """Where the bins of each RoI lie in the maps, in pixels; pairs are (y, x)."""

    maps: Tensor  # (K,) which of the N
    starts: Tensor  # (K, 2) of the RoI
    sizes: Tensor  # (K, 2) of a bin
    samples: Tensor  # (K, 2) sampling points along the sides of a bin
    shape: tuple[int, int]  # h, w

    @classmethod
    def of(cls, rois: Tensor, shape: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool) -> _Bins:
        boxes = rois[:, [2, 1, 4, 3]] * scale - 0.5 * aligned
        starts, extents = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        if not aligned:
            extents = extents.clamp(min=1)  # as in the first, unaligned operator
        sizes = extents / extents.new_tensor(shape)
        if sampling_ratio > 0:
            samples = torch.full_like(sizes, sampling_ratio)
        else:
            samples = sizes.ceil().nan_to_num(0, posinf=0).clamp(0, MAX_SAMPLING_POINTS)
        return cls(rois[:, 0].long(), starts, sizes, samples.long(), shape)

    def weighted_pixels(self) -> int:
        return int(self.samples.prod(dim=1).sum()) * 4 * self.shape[0] * self.shape[1]

    def sums(self, height: int, width: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The weighted pixels of bins in maps of that size, for some RoIs at once with equally many sampling points.

        Yields the RoIs (k,), the pixels, counted through all maps and rows (k, h * w, S), and their weights, likewise.
        """
        for samples in self.samples.unique(dim=0):
            same = (self.samples == samples).all(dim=1).nonzero().squeeze(1)
            (down, across), (h, w) = samples.tolist(), self.shape
            size = 4 * down * across
            if not size:
                continue  # a RoI without extent: its bins stay zero
            for rois in same.split(max(MAX_BLOCK // (size * h * w), 1)):
                row, row_weight = self._along(0, rois, down, height)
                column, column_weight = self._along(1, rois, across, width)
                row = (row + self.maps[rois, None, None] * height) * width
                pixels = row[:, :, None, :, None] + column[:, None, :, None, :]
                weights = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]
                yield rois, pixels.reshape(len(rois), h * w, size), weights.reshape(len(rois), h * w, size)

    def _along(self, axis: int, rois: Tensor, samples: int, size: int) -> tuple[Tensor, Tensor]:
        """The rows or columns of pixels that the bins interpolate, with weights: both (k, bins, 2 * samples)."""
        bins = self.shape[axis]
        side = self.sizes[rois, axis, None, None]
        start = self.starts[rois, axis, None, None] + torch.arange(bins)[:, None] * side
        # in the order of torchvision's operator, which rounds alike
        at = (start + (torch.arange(samples) + 0.5) * side / samples).flatten(1)
        inside = (at >= -1) & (at <= size)  # a sampling point within a pixel of the map counts as one on its border
        at = at.where(inside, 0.0).clamp(0, size - 1)
        low = at.floor()
        fraction = at - low
        weights = torch.stack([1 - fraction, fraction], dim=-1) * (inside[..., None] / samples)
        low = low.long()
        pixels = torch.stack([low, (low + 1).clamp(max=size - 1)], dim=-1)
        return pixels.view(len(rois), bins, -1), weights.view(len(rois), bins, -1)


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, bins: _Bins) -> Tensor:
        ctx.bins, ctx.shape = bins, maps.shape
        _, channels, height, width = maps.shape
        rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # a view, where channels come last in memory
        pooled = maps.new_zeros(len(bins.maps), *bins.shape, channels)
        for rois, pixels, weights in bins.sums(height, width):
            sums = F.embedding_bag(pixels.flatten(0, 1), rows, mode="sum", per_sample_weights=weights.flatten(0, 1))
            pooled[rois] = sums.view(len(rois), *bins.shape, channels)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_pooled: Tensor) -> tuple[Tensor, None]:
        """The transposed sums: each pixel's gradient is a weighted sum of those of bins."""
        maps, channels, height, width = ctx.shape
        grad_bins = grad_pooled.permute(0, 2, 3, 1).reshape(-1, channels)
        bins_of_roi = ctx.bins.shape[0] * ctx.bins.shape[1]
        # in 32 bits, which sort faster
        parts: list[tuple[Tensor, ...]] = [(torch.empty(0, dtype=torch.int32),) * 2 + (grad_bins.new_empty(0),)]
        for rois, pixels, weights in ctx.bins.sums(height, width):
            bins = (rois[:, None] * bins_of_roi + torch.arange(bins_of_roi))[..., None].expand_as(pixels)
            parts.append((pixels.int().flatten(), bins.int().flatten(), weights.flatten()))
        pixels, bins, weights = (torch.cat(columns) for columns in zip(*parts, strict=True))
        order = pixels.argsort(stable=True)  # a training repeats to the last bit
        counts = pixels.bincount(minlength=maps * height * width)
        sums = F.embedding_bag(
            bins[order], grad_bins, (counts.cumsum(0) - counts).int(), mode="sum", per_sample_weights=weights[order]
        )
        return sums.view(maps, height, width, channels).permute(0, 3, 1, 2), None
