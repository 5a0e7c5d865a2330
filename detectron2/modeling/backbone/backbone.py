"""What every feature extractor of a detector offers."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from detectron2.layers import ShapeSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, metaclass=ABCMeta):
    """A network from images to named feature maps.

    A subclass either overrides :meth:`output_shape` or sets ``_out_features`` (names, finest first),
    ``_out_feature_channels`` and ``_out_feature_strides`` (by name).
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, 3, H, W) images -> feature name to (N, C, H / stride, W / stride)."""

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this; 0 requires nothing."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """More wishes for the padding of the input: ``size_divisibility`` or ``square_size``, in pixels."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map that ``forward`` gives."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }
