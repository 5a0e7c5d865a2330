"""Features of fixed size for boxes of any size, from the pyramid level that suits each box.

M boxes over the N images of a batch, (x0, y0, x1, y1) in pixels of the input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import RoIPool

from detectron2.config import CfgNode
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.errors import InputError
from detectron2.utils.transfers import counting_waits

OUTSIDE = -1e6  # pixels


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes], min_level: int, max_level: int, canonical_box_size: int, canonical_level: int
) -> torch.Tensor:
    """Pyramid level of each box, (M,) int64, counted from ``min_level`` (Lin et al. 2017, arXiv 1612.03144, eq. 1).

    A square of side ``canonical_box_size`` pixels goes to ``canonical_level``; twice the side goes one level up.
    """
    sizes = Boxes.cat(list(box_lists)).area().sqrt()
    # The small constant gives boxes without area the lowest level instead of -infinity.
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_box_size + 1e-8))
    return levels.clamp(min=min_level, max=max_level).to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists: Sequence[Boxes]) -> torch.Tensor:
    """(M, 5) rows of (index of the image in the batch, x0, y0, x1, y1)."""
    boxes = torch.cat([boxes.tensor for boxes in box_lists])
    indices = [boxes.new_full((len(own), 1), i) for i, own in enumerate(box_lists)]
    return torch.cat((torch.cat(indices), boxes), dim=1)


class ROIPooler(nn.Module):
    """Pools each box from one of several feature maps.

    Args:
        output_size: side of the pooled map, or (height, width).
        scales: 1 / stride of each feature map, finest first; each half the one before.
        sampling_ratio: samples in each direction of a bin; 0 takes as many as the bin has pixels.
        pooler_type: "ROIAlignV2" (aligned to pixel centres), "ROIAlign" (without that half pixel) or "ROIPool".
        canonical_box_size, canonical_level: see :func:`assign_boxes_to_levels`.
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = int(height), int(width)
        self.level_poolers = nn.ModuleList(
            _pooler(pooler_type, self.output_size, scale, sampling_ratio) for scale in scales
        )
        levels = [-math.log2(scale) for scale in scales]
        if not levels or not np.allclose(levels, round(levels[0]) + np.arange(len(levels)), rtol=0, atol=1e-6):
            raise InputError(f"ROIPooler: scales {list(scales)} must be powers of 1/2 and halve from one to the next")
        self.min_level, self.max_level = round(levels[0]), round(levels[-1])
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    def forward(self, x: Sequence[torch.Tensor], box_lists: Sequence[Boxes]) -> torch.Tensor:
        """Features (M, C, height, width) of the boxes, in their order, from one map (N, C, H, W) a scale."""
        if len(x) != len(self.level_poolers):
            raise InputError(f"ROIPooler has {len(self.level_poolers)} levels, got {len(x)} feature maps")
        if len(box_lists) != x[0].shape[0]:
            raise InputError(f"ROIPooler: boxes of {len(box_lists)} images for features of {x[0].shape[0]}")
        if sum(len(boxes) for boxes in box_lists) == 0:
            return x[0].new_zeros((0, x[0].shape[1], *self.output_size))
        boxes = convert_boxes_to_pooler_format(box_lists)
        if len(self.level_poolers) == 1:
            return _pool(self.level_poolers[0], x[0], boxes)
        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        pool = self._pool_all if counting_waits(boxes) else self._pool_own
        return pool(x, boxes, levels)

    def _pool_all(self, x: Sequence[torch.Tensor], boxes: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """All boxes from each level, those of other levels outside its map, where features are zero.

        How many boxes a level has is known only to the device: a GPU would have to be waited for.
        """
        outside = F.pad(boxes[:, :1], (0, 4), value=OUTSIDE)
        is_own = levels == torch.arange(len(x), device=levels.device).unsqueeze(1)
        regions = torch.where(is_own.unsqueeze(2), boxes, outside)
        parts = (_pool_in_float32(*own) for own in zip(self.level_poolers, x, regions, strict=True))
        return functools.reduce(torch.add, parts).to(x[0].dtype)

    def _pool_own(self, x: Sequence[torch.Tensor], boxes: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """The boxes of each level from it."""
        counts = torch.bincount(levels, minlength=len(x)).tolist()
        order = levels.argsort()
        pooled = [
            _pool(pooler, features, boxes[rows])
            for features, pooler, rows in zip(x, self.level_poolers, order.split(counts), strict=True)
            if len(rows)
        ]
        return torch.cat(pooled)[order.argsort()]  # index_select would not keep channels last


def _pool(pooler: nn.Module, features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    return _pool_in_float32(pooler, features, boxes).to(features.dtype)


def _pool_in_float32(pooler: nn.Module, features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    # In half precision, boxes would be off by pixels.
    pooled: torch.Tensor = pooler(features.float(), boxes)
    return pooled


def _pooler(pooler_type: str, output_size: tuple[int, int], scale: float, sampling_ratio: int) -> nn.Module:
    if pooler_type in ("ROIAlignV2", "ROIAlign"):
        return ROIAlign(output_size, scale, sampling_ratio, aligned=pooler_type == "ROIAlignV2")
    if pooler_type == "ROIPool":
        return RoIPool(output_size, spatial_scale=scale)
    raise ValueError(f"POOLER_TYPE is '{pooler_type}'; it can be 'ROIAlignV2', 'ROIAlign' or 'ROIPool'")


def build_roi_pooler(cfg: CfgNode, head: CfgNode, input_shape: dict[str, ShapeSpec]) -> tuple[ROIPooler, ShapeSpec]:
    """The pooler of a head's section (its ``POOLER_*``) over ``MODEL.ROI_HEADS.IN_FEATURES``, and what it gives."""
    shapes = [input_shape[name] for name in cfg.MODEL.ROI_HEADS.IN_FEATURES]
    channels = {shape.channels for shape in shapes}
    if len(channels) != 1:
        raise InputError(f"MODEL.ROI_HEADS.IN_FEATURES: the features differ in channels: {sorted(map(str, channels))}")
    size, scales = head.POOLER_RESOLUTION, [1.0 / (shape.stride or 1) for shape in shapes]
    pooler = ROIPooler(size, scales, head.POOLER_SAMPLING_RATIO, head.POOLER_TYPE)
    return pooler, ShapeSpec(channels=channels.pop(), height=size, width=size)
