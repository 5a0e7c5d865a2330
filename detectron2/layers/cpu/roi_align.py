"""RoIAlign (He et al. 2017, Mask R-CNN, section 3) on a processor.

Each cell of a crop is a weighted sum of pixels, taken for all channels at once: several times faster
than torchvision's operator, which works channel by channel. N maps of C channels; K boxes, each with its map's index,
x0, y0, x1, y1; a crop of h x w cells, of S weighted pixels each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Bounds of memory, in weighted pixels of all cells. With more than MOST of them, torchvision's operator is taken.
AT_ONCE = 2**20
MOST = 2**24
MOST_SAMPLES = 2**15  # along a side of a cell; stands for more


@dataclass
class Cells:
    """Where the cells of each crop lie in the maps, in pixels; pairs are (y, x)."""

    maps: Tensor  # (K,) which of the N
    corners: Tensor  # (K, 2)
    extents: Tensor  # (K, 2)
    samples: Tensor  # (K, 2) along the sides of a cell
    shape: tuple[int, int]  # h, w

    @classmethod
    def of(cls, rois: Tensor, layer: Any) -> Cells:
        boxes = rois[:, [2, 1, 4, 3]] * layer.spatial_scale - 0.5 * layer.aligned
        corners, extents = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        if not layer.aligned:
            extents = extents.clamp(min=1)  # as in the first, unaligned operator
        if layer.sampling_ratio > 0:
            samples = torch.full_like(extents, layer.sampling_ratio)
        else:
            pixels = extents / extents.new_tensor(layer.output_size)  # of a cell's sides
            samples = pixels.ceil().nan_to_num(0, posinf=0).clamp(0, MOST_SAMPLES)
        return cls(rois[:, 0].long(), corners, extents, samples.long(), layer.output_size)

    def weighted_pixels(self) -> int:
        return int(self.samples.prod(dim=1).sum()) * 4 * self.shape[0] * self.shape[1]

    def sums(self, height: int, width: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What makes up the cells in maps of that size, for some crops at once that have equally many samples a cell.

        Gives the crops (k,), the pixels, counted through all maps and rows (k, h * w, S), and their weights, likewise.
        """
        for samples in self.samples.unique(dim=0):
            same = (self.samples == samples).all(dim=1).nonzero().squeeze(1)
            (down, across), (h, w) = samples.tolist(), self.shape
            size = 4 * down * across
            if not size:
                continue  # a box without extent: its cells stay zero
            for crops in same.split(max(AT_ONCE // (size * h * w), 1)):
                row, row_weight = self._along(0, crops, down, height)
                column, column_weight = self._along(1, crops, across, width)
                row = (row + self.maps[crops, None, None] * height) * width
                pixels = row[:, :, None, :, None] + column[:, None, :, None, :]
                weights = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]
                yield crops, pixels.reshape(len(crops), h * w, size), weights.reshape(len(crops), h * w, size)

    def _along(self, axis: int, crops: Tensor, samples: int, size: int) -> tuple[Tensor, Tensor]:
        """The rows or columns of pixels that the cells see, with weights: both (k, cells, 2 * samples)."""
        cells = self.shape[axis]
        side = self.extents[crops, axis, None, None] / cells
        start = self.corners[crops, axis, None, None] + torch.arange(cells)[:, None] * side
        # in the order of torchvision's operator, which rounds alike
        at = (start + (torch.arange(samples) + 0.5) * side / samples).flatten(1)
        inside = (at >= -1) & (at <= size)  # a sample within a pixel of the map counts as one on its border
        at = at.where(inside, 0.0).clamp(0, size - 1)
        low = at.floor()
        beyond = at - low
        weights = torch.stack([1 - beyond, beyond], dim=-1) * (inside[..., None] / samples)
        low = low.long()
        pixels = torch.stack([low, (low + 1).clamp(max=size - 1)], dim=-1)
        return pixels.view(len(crops), cells, -1), weights.view(len(crops), cells, -1)


class WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, cells: Cells) -> Tensor:
        ctx.cells, ctx.shape = cells, maps.shape
        _, channels, height, width = maps.shape
        pixels = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # a view, where channels come last in memory
        crops = maps.new_zeros(len(cells.maps), *cells.shape, channels)
        for some, places, weights in cells.sums(height, width):
            summed = F.embedding_bag(places.flatten(0, 1), pixels, mode="sum", per_sample_weights=weights.flatten(0, 1))
            crops[some] = summed.view(len(some), *cells.shape, channels)
        return crops.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_crops: Tensor) -> tuple[Tensor, None]:
        """The sums the other way round: each pixel's gradient is a weighted sum of those of cells."""
        maps, channels, height, width = ctx.shape
        of_cells = of_crops.permute(0, 2, 3, 1).reshape(-1, channels)
        each = ctx.cells.shape[0] * ctx.cells.shape[1]
        # in 32 bits, which sort faster
        found: list[tuple[Tensor, ...]] = [(torch.empty(0, dtype=torch.int32),) * 2 + (of_cells.new_empty(0),)]
        for some, places, weights in ctx.cells.sums(height, width):
            numbers = (some[:, None] * each + torch.arange(each))[..., None].expand_as(places)
            found.append((places.int().flatten(), numbers.int().flatten(), weights.flatten()))
        places, numbers, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = places.argsort(stable=True)  # a training repeats to the last bit
        counts = places.bincount(minlength=maps * height * width)
        summed = F.embedding_bag(
            numbers[order],
            of_cells,
            (counts.cumsum(0) - counts).int(),
            mode="sum",
            per_sample_weights=weights[order],
        )
        return summed.view(maps, height, width, channels).permute(0, 3, 1, 2), None
