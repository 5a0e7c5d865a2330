"""Feature pyramid network (Lin et al. 2017, arXiv 1612.03144). Level l has stride 2^l and is named ``p<l>``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.layers.weight_init import c2_xavier_fill
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from detectron2.utils.errors import InputError

__all__ = ["FPN", "LastLevelMaxPool", "build_resnet_fpn_backbone"]


class FPN(Backbone):
    """Top-down pathway with lateral connections over the maps of another backbone.

    Args:
        bottom_up: gives the maps named in ``in_features``; their strides double from one to the next.
        in_features: finest first.
        out_channels: channels of every level.
        norm: of the lateral and output convolutions; "" gives them a bias instead.
        top_block: adds coarser levels; has ``num_levels`` and ``in_feature`` (of the pyramid or of ``bottom_up``) and
            maps that feature to a list of ``num_levels`` maps.
        fuse_type: "sum" or "avg" of lateral and top-down map.
        square_pad: side in pixels of square images to pad to; 0 for none.

    Raises:
        ValueError: the strides do not double, or an unknown ``fuse_type``.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise InputError(f"MODEL.FPN.FUSE_TYPE is '{fuse_type}'; it can be 'sum' or 'avg'")
        shapes = bottom_up.output_shape()
        self.in_features = tuple(in_features)
        self._levels = _levels(self.in_features, shapes)
        channels = {name: int(shapes[name].channels or 0) for name in self.in_features}
        for name, level in zip(self.in_features, self._levels, strict=True):
            lateral = _pyramid_conv(channels[name], out_channels, 1, norm)
            output = _pyramid_conv(out_channels, out_channels, 3, norm)
            # Sampled once both are there: equal seeds then give the weights Detectron2 has.
            c2_xavier_fill(lateral)
            c2_xavier_fill(output)
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)
        self.top_block = top_block
        self.bottom_up = bottom_up
        self._fuse_weight = 1.0 if fuse_type == "sum" else 0.5
        self._square_pad = square_pad
        extra = 0 if top_block is None else int(top_block.num_levels)  # type: ignore[arg-type]
        levels = [*self._levels, *range(self._levels[-1] + 1, self._levels[-1] + 1 + extra)]
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        return 2 ** self._levels[-1]

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"square_size": self._square_pad}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, 3, H, W) images -> level name to (N, out_channels, H / 2^l, W / 2^l), finest level first."""
        bottom_up = self.bottom_up(x)
        pyramid: dict[str, torch.Tensor] = {}
        merged: torch.Tensor | None = None
        for name, level in zip(reversed(self.in_features), reversed(self._levels), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(bottom_up[name])
            merged = lateral if merged is None else self._fuse(lateral, merged)
            pyramid[f"p{level}"] = getattr(self, f"fpn_output{level}")(merged)
        if self.top_block is not None:
            source = self.top_block.in_feature
            maps = self.top_block(bottom_up[source] if source in bottom_up else pyramid[source])  # type: ignore[index]
            pyramid.update(zip(self._out_features[len(self._levels) :], maps, strict=True))
        return {name: pyramid[name] for name in self._out_features}

    def _fuse(self, lateral: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
        fused = lateral.add_(F.interpolate(coarser, scale_factor=2.0, mode="nearest"))
        return fused if self._fuse_weight == 1.0 else fused * self._fuse_weight


def _pyramid_conv(in_channels: int, out_channels: int, kernel: int, norm: str) -> Conv2d:
    options: dict[str, Any] = {"bias": norm == "", "norm": get_norm(norm, out_channels)}
    return Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, **options)


def _levels(names: Sequence[str], shapes: dict[str, ShapeSpec]) -> list[int]:
    missing = [name for name in names if name not in shapes]
    if missing or not names:
        raise InputError(f"MODEL.FPN.IN_FEATURES {list(names)}: the backbone gives {sorted(shapes)}")
    strides = [int(shapes[name].stride or 0) for name in names]
    levels = [round(math.log2(max(stride, 1))) for stride in strides]
    contiguous = all(level == levels[0] + i for i, level in enumerate(levels))
    if not contiguous or strides != [2**level for level in levels]:
        raise InputError(f"MODEL.FPN.IN_FEATURES {list(names)}: strides {strides} must be powers of 2 that double")
    return levels


class LastLevelMaxPool(nn.Module):
    """Every second pixel of p5 as p6, which only the proposal network sees."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.max_pool2d(x, kernel_size=1, stride=2, padding=0)]


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet (``MODEL.RESNETS``) with a feature pyramid (``MODEL.FPN``) and p6 from max pooling."""
    return FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
