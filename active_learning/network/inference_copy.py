"""A copy of a network that computes the same, faster: for many images with weights that stay as they are."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from active_learning.network.dropout_heads import DropoutBoxPredictor
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d

BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)
FIRST_WITH_BFLOAT16 = (8, 0)  # compute capability of a GPU


def for_inference(model: nn.Module, cfg: CfgNode) -> Any:
    """The network as evaluation and pre-labelling run it: on a GPU its `inference_copy`, in 16 bits under AMP.

    On a processor it is the network itself, in float32: what it finds is then the same on every processor.
    """
    if cfg.MODEL.DEVICE == "cpu":
        return model
    fast = inference_copy(model, half=cfg.SOLVER.AMP.ENABLED)
    fast.backbone.register_forward_pre_hook(_as_weights)
    return fast


def _as_weights(backbone: nn.Module, images: tuple[torch.Tensor]) -> torch.Tensor:
    """Images (N, 3, H, W) in the type and the memory order of the weights."""
    return images[0].to(next(backbone.parameters()).dtype, memory_format=torch.channels_last)


def inference_copy(model: nn.Module, *, half: bool) -> Any:
    """The network in evaluation mode: each convolution takes in its batch norm, images and features are channels-last.

    Args:
        model: stays as it is.
        half: calculate in 16 bits, all but the box predictor and what follows the heads.
    """
    fast = copy.deepcopy(model).eval()
    for layer in fast.modules():
        if isinstance(layer, Conv2d) and isinstance(layer.norm, BATCH_NORMS):
            _fold(layer, layer.norm)
    fast = fast.to(memory_format=torch.channels_last)
    if half:
        _to_half(fast, half_type(next(fast.parameters()).device))
    return fast


def half_type(device: torch.device) -> torch.dtype:
    """bfloat16, whose range is that of float32; float16 for all GPUs where one is without."""
    if device.type == "cuda":
        oldest = min(torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count()))
        return torch.float16 if oldest < FIRST_WITH_BFLOAT16 else torch.bfloat16
    return torch.bfloat16


def _fold(conv: Conv2d, norm: Any) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.norm = None


def _to_half(model: nn.Module, dtype: torch.dtype) -> None:
    """Layers with weights, one by one: a predictor of class and box stays, as a logit of 16 bits is off by 1 %."""
    exact = {
        layer for module in model.modules() if isinstance(module, DropoutBoxPredictor) for layer in module.modules()
    }
    for layer in model.modules():
        if layer not in exact and next(layer.parameters(recurse=False), None) is not None:
            layer.to(dtype)
