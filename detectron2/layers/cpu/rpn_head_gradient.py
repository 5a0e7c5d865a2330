"""The gradient of the RPN head (Ren et al. 2015, section 3.1) at the positions of sampled anchors alone.

The RPN's losses see a mini-batch of a few hundred anchors, so the gradient of the head's maps is zero at nearly every
position. Only the others are calculated, each with the 3x3 window that the head slides over the features. N images,
A anchors a position, C and O channels before and behind the 3x3 convolution, K positions with a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

HeadForward = Callable[[Tensor], tuple[Tensor, Tensor]]

MAX_SHARE = 0.1  # of the positions; with more of them the convolution's own gradient is faster


def with_sparse_gradient(head: HeadForward, feature: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`head(feature)`, logits (N, A, H, W) and deltas (N, 4A, H, W) of a feature map (N, C, H, W).

    Args:
        head: a 3x3 convolution, ReLU, and 1x1 convolutions to logits and deltas.
        parameters: its weights and biases: (O, C, 3, 3), (O,), (A, O, 1, 1), (A,), (4A, O, 1, 1), (4A,).
    """
    maps: tuple[Tensor, Tensor] = _SparseGradient.apply(head, feature, *parameters)
    return maps


class _SparseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head: HeadForward, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.head = head
        ctx.save_for_backward(*inputs)
        return head(inputs[0])

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grad_maps: Tensor) -> tuple[Tensor | None, ...]:
        inputs, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        gradient = torch.cat(grad_maps, dim=1).permute(0, 2, 3, 1).flatten(0, 2)  # (N * H * W, 5A)
        positions = gradient.any(dim=1).nonzero().squeeze(1)
        if len(positions) > MAX_SHARE * len(gradient):
            return None, *_dense_gradients(ctx.head, inputs, needed, grad_maps)
        return None, *_sparse_gradients(inputs, needed[0], positions, gradient[positions])


def _dense_gradients(
    head: HeadForward, inputs: tuple[Tensor, ...], needed: tuple[bool, ...], grad_maps: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    feature = inputs[0].detach().requires_grad_(needed[0])
    with torch.enable_grad():
        maps = head(feature)
    wanted = [one for one, need in zip((feature, *inputs[1:]), needed, strict=True) if need]
    trained = [index for index, one in enumerate(maps) if one.requires_grad]
    outputs, grad_outputs = ([tensors[index] for index in trained] for tensors in (maps, grad_maps))
    gradients = iter(torch.autograd.grad(outputs, wanted, grad_outputs))
    return tuple(next(gradients) if need else None for need in needed)


def _sparse_gradients(
    inputs: tuple[Tensor, ...], needs_feature: bool, positions: Tensor, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """`positions` (K,) count through images, rows, columns; `gradient` (K, 5A) is that of logits and deltas there."""
    feature, weight, bias, logits, _, deltas, _ = inputs
    (_, channels, height, width), outputs = feature.shape, len(weight)
    windows, inside = _windows(positions, height, width)
    rows = feature.permute(0, 2, 3, 1).reshape(-1, channels)  # a view, where channels come last in memory
    features = (rows[windows] * inside).flatten(1)  # (K, 9C)
    kernel = weight.permute(0, 2, 3, 1).reshape(outputs, -1)  # (O, 9C)
    hidden = torch.addmm(bias, features, kernel.T).relu_()
    predictors = torch.cat([logits, deltas]).flatten(1)  # (5A, O)

    grad_hidden = (gradient @ predictors) * (hidden > 0)
    grad_weight = (grad_hidden.T @ features).view(outputs, 3, 3, channels).permute(0, 3, 1, 2)
    grad_feature = None
    if needs_feature:
        grad_windows = (grad_hidden @ kernel).view(-1, 9, channels) * inside
        summed = torch.zeros_like(rows).index_add_(0, windows.flatten(), grad_windows.flatten(0, 1))
        grad_feature = summed.view(-1, height, width, channels).permute(0, 3, 1, 2)
    sizes = len(logits), len(deltas)
    grad_logits, grad_deltas = (gradient.T @ hidden)[:, :, None, None].split(sizes)
    grad_logits_bias, grad_deltas_bias = gradient.sum(0).split(sizes)
    grad_bias = grad_hidden.sum(0)
    return grad_feature, grad_weight, grad_bias, grad_logits, grad_logits_bias, grad_deltas, grad_deltas_bias


def _windows(positions: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The 3x3 positions around each, row by row (K, 9), and whether they are inside their image (K, 9, 1); those that
    are not stand for the padding and count as positions of the border."""
    steps = torch.tensor([-1, 0, 1], device=positions.device)
    column = (positions % width)[:, None] + steps.repeat(3)
    row = (positions // width % height)[:, None] + steps.repeat_interleave(3)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    image = (positions // (width * height))[:, None]
    flat = (image * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
    return flat, inside.unsqueeze(-1)
