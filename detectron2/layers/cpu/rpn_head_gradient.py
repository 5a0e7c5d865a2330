"""The RPN head's gradient where there is one.

The losses see a few hundred sampled anchors, so the gradient of the head's maps is zero at nearly every pixel. Only the
other pixels are worked through, each with the 3x3 neighbourhood that it saw. N images, A anchors a pixel, C and O
channels before and behind the 3x3 convolution, K pixels with a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

DENSE_SHARE = 0.1  # of the pixels; with more of them the convolution's own gradient is faster


def head_maps(feature: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, A, H, W) and deltas (N, 4A, H, W) of a feature map (N, C, H, W).

    Args:
        parameters: weight and bias of the 3x3 convolution (O, C, 3, 3), which ReLU follows, and of the 1x1
            convolutions to logits (A, O, 1, 1) and deltas (4A, O, 1, 1).
    """
    maps: tuple[Tensor, Tensor] = _HeadMaps.apply(feature, *parameters)
    return maps


def _dense(
    feature: Tensor,
    weight: Tensor,
    bias: Tensor,
    logits: Tensor,
    logits_bias: Tensor,
    deltas: Tensor,
    deltas_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    hidden = F.conv2d(feature, weight, bias, padding=1).relu_()
    return F.conv2d(hidden, logits, logits_bias), F.conv2d(hidden, deltas, deltas_bias)


class _HeadMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*inputs)
        return _dense(*inputs)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *map_gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        gradient = torch.cat(map_gradients, dim=1).permute(0, 2, 3, 1).flatten(0, 2)  # (N * H * W, 5A)
        pixels = gradient.any(dim=1).nonzero().squeeze(1)
        if len(pixels) > DENSE_SHARE * len(gradient):
            return _dense_gradients(inputs, ctx.needs_input_grad, map_gradients)
        return _sparse_gradients(inputs, ctx.needs_input_grad[0], pixels, gradient[pixels])


def _dense_gradients(
    inputs: tuple[Tensor, ...], needed: tuple[bool, ...], map_gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_(need) for one, need in zip(inputs, needed, strict=True)]
        maps = _dense(*leaves)
    found = iter(torch.autograd.grad(maps, [leaf for leaf in leaves if leaf.requires_grad], map_gradients))
    return tuple(next(found) if need else None for need in needed)


def _sparse_gradients(
    inputs: tuple[Tensor, ...], needs_feature: bool, pixels: Tensor, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """`pixels` (K,) count through images, rows and columns; `gradient` (K, 5A) is that of logits and deltas there."""
    feature, weight, bias, logits, _, deltas, _ = inputs
    (_, channels, height, width), outputs = feature.shape, len(weight)
    neighbours, inside = _neighbourhoods(pixels, height, width)
    rows = feature.permute(0, 2, 3, 1).reshape(-1, channels)  # a view, where channels come last in memory
    seen = (rows[neighbours] * inside).flatten(1)  # (K, 9C)
    kernel = weight.permute(0, 2, 3, 1).reshape(outputs, -1)  # (O, 9C)
    hidden = torch.addmm(bias, seen, kernel.T).relu_()
    predictors = torch.cat([logits, deltas]).flatten(1)  # (5A, O)

    of_hidden = (gradient @ predictors) * (hidden > 0)
    of_kernel = (of_hidden.T @ seen).view(outputs, 3, 3, channels).permute(0, 3, 1, 2)
    of_predictors = (gradient.T @ hidden)[:, :, None, None]
    of_predictor_biases = gradient.sum(0)
    of_feature = None
    if needs_feature:
        of_seen = (of_hidden @ kernel).view(-1, 9, channels) * inside
        summed = torch.zeros_like(rows).index_add_(0, neighbours.flatten(), of_seen.flatten(0, 1))
        of_feature = summed.view(-1, height, width, channels).permute(0, 3, 1, 2)
    anchors = len(logits)
    return (
        of_feature,
        of_kernel,
        of_hidden.sum(0),
        of_predictors[:anchors],
        of_predictor_biases[:anchors],
        of_predictors[anchors:],
        of_predictor_biases[anchors:],
    )


def _neighbourhoods(pixels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The 3x3 pixels around each, row by row (K, 9), and whether they are inside their image (K, 9, 1); those that are
    not stand for the padding and count as pixels of the border."""
    steps = torch.tensor([-1, 0, 1], device=pixels.device)
    column = (pixels % width)[:, None] + steps.repeat(3)
    row = (pixels // width % height)[:, None] + steps.repeat_interleave(3)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    image = (pixels // (width * height))[:, None]
    flat = (image * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
    return flat, inside.unsqueeze(-1)
