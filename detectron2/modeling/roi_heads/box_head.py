"""Features of a region for its class and box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.layers.weight_init import c2_msra_fill, c2_xavier_fill
from detectron2.utils.errors import InputError
from detectron2.utils.registry import Registry

__all__ = ["ROI_BOX_HEAD_REGISTRY", "FastRCNNConvFCHead", "build_box_head"]

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
ROI_BOX_HEAD_REGISTRY.__doc__ = """``(cfg, input_shape: ShapeSpec) -> nn.Module`` by ``MODEL.ROI_BOX_HEAD.NAME``.

The module maps pooled features (M, C, H, W) to features of each box and has their ``output_shape``.
"""


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions (``conv1``, ...), then fully connected layers (``fc1``, ...), a ReLU after each.

    Maps (M, C, H, W) to (M, last of ``fc_dims``), or to (M, last of ``conv_dims``, H, W) without such layers.

    Args:
        input_shape: channels, height and width of the pooled features.
        conv_norm: norm of the convolutions; "" gives them a bias instead.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, conv_dims: Sequence[int], fc_dims: Sequence[int], conv_norm: str = ""
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise InputError("MODEL.ROI_BOX_HEAD: NUM_CONV and NUM_FC are both 0, the box head has no layer")
        channels = input_shape.channels or 0
        height, width = input_shape.height or 1, input_shape.width or 1
        for number, dim in enumerate(conv_dims, start=1):
            self.add_module(f"conv{number}", conv3x3_norm_relu(channels, dim, conv_norm))
            channels = dim
        self._output_size: tuple[int, ...] = (channels, height, width)
        features = channels * height * width
        if fc_dims:
            self.add_module("flatten", nn.Flatten())
        for number, dim in enumerate(fc_dims, start=1):
            self.add_module(f"fc{number}", nn.Linear(features, dim))
            self.add_module(f"fc_relu{number}", nn.ReLU(inplace=True))
            features = dim
            self._output_size = (dim,)
        initialize(self.children())

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    @property
    def output_shape(self) -> ShapeSpec:
        return ShapeSpec(*self._output_size)


def conv3x3_norm_relu(in_channels: int, out_channels: int, norm: str) -> Conv2d:
    """A layer of the heads with its norm, where "" means a bias instead."""
    modules: Any = {"norm": get_norm(norm, out_channels), "activation": nn.ReLU(inplace=True)}
    return Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=not norm, **modules)


def initialize(layers: Iterable[nn.Module]) -> None:
    """Sample the weights of a head's layers. Once all are there: equal seeds then give the weights Detectron2 has."""
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            c2_msra_fill(layer)
        elif isinstance(layer, nn.Linear):
            c2_xavier_fill(layer)


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> Any:
    """Build ``MODEL.ROI_BOX_HEAD.NAME`` for pooled features of this shape."""
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)
