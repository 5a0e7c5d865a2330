"""Layers of a network as nodes of an ONNX graph.

They are those of `inference_copy`: batch norms are part of the convolutions, and dropout does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network.dropout_heads import DropoutBoxHead, DropoutMaskHead
from active_learning.network.onnx_graph import Graph, Value
from active_learning.network.seeded_dropout import SeededDropout
from detectron2.layers import Conv2d
from detectron2.modeling.backbone import (
    FPN,
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    ResNet,
)
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

Maps: TypeAlias = dict[str, Value]


class Layers:
    """Adds layers of one network to a graph; weights keep their names."""

    def __init__(self, graph: Graph, model: nn.Module) -> None:
        self.graph = graph
        self._names: dict[Any, str] = {module: name for name, module in model.named_modules()}
        self._weights: dict[nn.Module, list[Value]] = {}

    def __call__(self, layer: Any, x: Value) -> Value:
        """The layer's output for x, as in evaluation mode.

        Raises:
            MaskALError: it is of a kind that is not exported.
        """
        add = _ADD.get(type(layer))
        if add is None:
            raise MaskALError(
                f"{self._names.get(layer, '')}: a layer {type(layer).__name__} cannot be exported to ONNX; "
                "choose a network with FPN, C4 or DC5 from ResNet-18 to ResNeXt-101, and with batch normalisation"
            )
        outer, self.graph.scope = self.graph.scope, f"{self._names.get(layer, '')}."
        output = add(self, layer, x)
        self.graph.scope = outer
        return output

    def relu(self, x: Value) -> Value:
        return self.graph.add("Relu", x)

    def weights(self, layer: nn.Module) -> list[Value]:
        """Weight and, where there is one, bias; once, however often the layer is used."""
        if layer not in self._weights:
            self._weights[layer] = [
                self.graph.constant(value.detach().contiguous().numpy(), f"{self._names[layer]}.{kind}")
                for kind, value in layer.named_parameters(recurse=False)
            ]
        return self._weights[layer]

    def backbone(self, backbone: Any, x: Value, fuse_type: str) -> Maps:
        """Images (1, 3, H, W) -> the maps by their names; `fuse_type` is MODEL.FPN.FUSE_TYPE."""
        if isinstance(backbone, FPN):
            return self._pyramid(backbone, x, fuse_type)
        if not isinstance(backbone, ResNet):
            raise MaskALError(f"a backbone {type(backbone).__name__} cannot be exported to ONNX; choose a ResNet")
        return self._stages(backbone, x)

    def _stages(self, resnet: ResNet, x: Value) -> Maps:
        found = {}
        for name in ("stem", *resnet.stage_names):
            found[name] = x = self(getattr(resnet, name), x)
        return {name: found[name] for name in resnet.output_shape()}

    def _pyramid(self, fpn: Any, x: Value, fuse_type: str) -> Maps:
        bottom_up, shapes = self._stages(fpn.bottom_up, x), fpn.bottom_up.output_shape()
        pyramid: Maps = {}
        merged: Value | None = None
        for name in reversed(fpn.in_features):
            level = round(math.log2(shapes[name].stride))
            lateral = self(getattr(fpn, f"fpn_lateral{level}"), bottom_up[name])
            merged = lateral if merged is None else self._fuse(lateral, merged, fuse_type)
            pyramid[f"p{level}"] = self(getattr(fpn, f"fpn_output{level}"), merged)
        last = max(pyramid, key=lambda name: int(name[1:]))
        pyramid[f"p{int(last[1:]) + 1}"] = self(fpn.top_block, pyramid[last])
        return pyramid

    def _fuse(self, lateral: Value, coarser: Value, fuse_type: str) -> Value:
        scales = self.graph.constant(torch.tensor([1.0, 1.0, 2.0, 2.0]).numpy())
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        fused = lateral + self.graph.add("Resize", coarser, None, scales, **nearest)
        return fused if fuse_type == "sum" else fused * 0.5


def _convolution(layers: Layers, conv: Any, x: Value) -> Value:
    """A Conv2d of torch or of detectron2, whose activation is part of it."""
    if getattr(conv, "norm", None) is not None:
        layers(conv.norm, x)  # all that can be taken into the convolution has been: refused by its name
    geometry = {"strides": conv.stride, "pads": conv.padding * 2, "dilations": conv.dilation, "group": conv.groups}
    y = layers.graph.add("Conv", x, *layers.weights(conv), **geometry)
    activation = getattr(conv, "activation", None)
    return y if activation is None else layers(activation, y)


def _deconvolution(layers: Layers, conv: Any, x: Value) -> Value:
    geometry = {"strides": conv.stride, "pads": conv.padding * 2, "dilations": conv.dilation, "group": conv.groups}
    return layers.graph.add("ConvTranspose", x, *layers.weights(conv), **geometry)


def _linear(layers: Layers, linear: Any, x: Value) -> Value:
    return layers.graph.add("Gemm", x, *layers.weights(linear), transB=1)


def _children(layers: Layers, parent: nn.Module, x: Value) -> Value:
    for layer in parent.children():
        x = layers(layer, x)
    return x


def _stem(layers: Layers, stem: BasicStem, x: Value) -> Value:
    x = layers.relu(layers(stem.conv1, x))
    return layers.graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def _basic_block(layers: Layers, block: BasicBlock, x: Value) -> Value:
    branch = layers(block.conv2, layers.relu(layers(block.conv1, x)))
    return _with_shortcut(layers, block, x, branch)


def _bottleneck_block(layers: Layers, block: BottleneckBlock, x: Value) -> Value:
    branch = layers.relu(layers(block.conv2, layers.relu(layers(block.conv1, x))))
    return _with_shortcut(layers, block, x, layers(block.conv3, branch))


def _with_shortcut(layers: Layers, block: Any, x: Value, branch: Value) -> Value:
    return layers.relu(branch + (x if block.shortcut is None else layers(block.shortcut, x)))


def _every_second_pixel(layers: Layers, _: LastLevelMaxPool, x: Value) -> Value:
    return layers.graph.add("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2])


def _same(_: Layers, __: nn.Module, x: Value) -> Value:
    return x


# By type, not by class: a subclass may do something else.
_ADD: dict[type, Callable[[Layers, Any, Value], Value]] = {
    Conv2d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _deconvolution,
    nn.Linear: _linear,
    nn.ReLU: lambda layers, _, x: layers.relu(x),
    nn.Flatten: lambda layers, _, x: layers.graph.add("Flatten", x),
    nn.Sequential: _children,
    DropoutBoxHead: _children,
    DropoutMaskHead: _children,
    SeededDropout: _same,
    BasicStem: _stem,
    BasicBlock: _basic_block,
    BottleneckBlock: _bottleneck_block,
    LastLevelMaxPool: _every_second_pixel,
}
