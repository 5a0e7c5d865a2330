"""Anchors: boxes of fixed sizes and shapes at every pixel of every feature map.

L feature maps; A anchors a pixel (may differ between maps); boxes are (x0, y0, x1, y1) in pixels of the input image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.errors import InputError
from detectron2.utils.registry import Registry

__all__ = ["ANCHOR_GENERATOR_REGISTRY", "DefaultAnchorGenerator", "build_anchor_generator"]

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
ANCHOR_GENERATOR_REGISTRY.__doc__ = "``(cfg, list[ShapeSpec]) -> module`` by ``MODEL.ANCHOR_GENERATOR.NAME``."


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(nn.Module):
    """Anchors of every combination of size and aspect ratio (Ren et al. 2015, arXiv 1506.01497, section 3.1.1).

    Args:
        sizes: per feature map the square roots of the anchors' areas, in pixels. One list serves all maps; a flat list
            of numbers is that one list.
        aspect_ratios: per feature map the ratios height / width; same short forms.
        strides: of each feature map, in pixels.
        offset: position of the first anchor's centre, as a fraction of the stride, in [0, 1).
    """

    box_dim = 4
    __jit_unused_properties__ = ("num_anchors", "num_cell_anchors")

    @configurable
    def __init__(
        self, *, sizes: Sequence[Any], aspect_ratios: Sequence[Any], strides: Sequence[int], offset: float = 0.5
    ) -> None:
        super().__init__()
        if not 0.0 <= offset < 1.0:
            raise InputError(f"MODEL.ANCHOR_GENERATOR.OFFSET is {offset}; it must lie in [0, 1)")
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        all_sizes = _one_list_per_map(sizes, self.num_features, "SIZES")
        all_ratios = _one_list_per_map(aspect_ratios, self.num_features, "ASPECT_RATIOS")
        for i, (own_sizes, own_ratios) in enumerate(zip(all_sizes, all_ratios, strict=True)):
            # They follow from the config, so they stay out of checkpoints.
            self.register_buffer(f"_cell_anchors{i}", self.generate_cell_anchors(own_sizes, own_ratios), False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        return {
            "sizes": cfg.MODEL.ANCHOR_GENERATOR.SIZES,
            "aspect_ratios": cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
        }

    @property
    def cell_anchors(self) -> list[torch.Tensor]:
        """Per feature map (A, 4): the anchors of one pixel around the origin."""
        return [buffer[1] for buffer in self.named_buffers()]

    @property
    def num_anchors(self) -> list[int]:
        """Anchors a pixel, for each feature map."""
        return [len(anchors) for anchors in self.cell_anchors]

    @property
    def num_cell_anchors(self) -> list[int]:
        return self.num_anchors

    def generate_cell_anchors(
        self, sizes: Sequence[float] = (32, 64, 128, 256, 512), aspect_ratios: Sequence[float] = (0.5, 1, 2)
    ) -> torch.Tensor:
        """(len(sizes) * len(aspect_ratios), 4) boxes centred at (0, 0); ratios vary fastest."""
        roots = [(size, math.sqrt(ratio)) for size in sizes for ratio in aspect_ratios]
        halves = torch.tensor([(size / root / 2, size * root / 2) for size, root in roots], dtype=torch.float32)
        return torch.cat((-halves, halves), dim=1)

    def forward(self, features: list[torch.Tensor]) -> list[Boxes]:
        """Per feature map (N, C, H, W) its H * W * A anchors, rows first, anchors of a pixel together.

        TorchScript compiles this too.
        """
        if len(features) != self.num_features:
            raise InputError(f"the anchor generator is made for {self.num_features} feature maps, not {len(features)}")
        cell_anchors = self.cell_anchors
        return [
            Boxes(self._grid_anchors(features[i].shape[-2], features[i].shape[-1], self.strides[i], cell_anchors[i]))
            for i in range(len(features))
        ]

    def _grid_anchors(self, height: int, width: int, stride: int, anchors: torch.Tensor) -> torch.Tensor:
        y, x = torch.meshgrid(
            (torch.arange(height, device=anchors.device, dtype=torch.float32) + self.offset) * stride,
            (torch.arange(width, device=anchors.device, dtype=torch.float32) + self.offset) * stride,
            indexing="ij",
        )
        return (torch.stack((x, y, x, y), dim=-1).view(-1, 1, 4) + anchors).view(-1, 4)


def _one_list_per_map(values: Sequence[Any], num_maps: int, key: str) -> list[list[float]]:
    nested = bool(values) and isinstance(values[0], Sequence)
    lists = [list(own) for own in (values if nested else [values])]
    lists = lists * num_maps if len(lists) == 1 else lists
    if len(lists) != num_maps or not all(lists):
        raise InputError(f"MODEL.ANCHOR_GENERATOR.{key} is {values!r}; it needs 1 or {num_maps} non-empty lists")
    return lists


def build_anchor_generator(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> nn.Module:
    """Build ``MODEL.ANCHOR_GENERATOR.NAME`` for feature maps of these strides."""
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)
