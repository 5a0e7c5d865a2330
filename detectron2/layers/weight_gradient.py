"""The weight gradient of convolutions whose channels come last in memory.

On processors with AVX2 and no AVX-512, PyTorch's own takes up to five times as long as the arithmetic needs. Here each
of a kernel's taps is one matrix product. N images, C channels in and O out, a kernel of k x l pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` spares time; its stride, dilation and groups are one."""
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and weight[0, 0].numel() > 1  # PyTorch's own is as fast for 1x1
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """torch.nn.functional.conv2d of (N, C, H, W) with weights (O, C, k, l), with its gradients (but none of those)."""
    output: Tensor = _Convolution.apply(x, weight, bias, padding)
    return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, _, needs_bias, _ = ctx.needs_input_grad
        of_x = None
        if needs_x:
            steps = ((1, 1), ctx.padding, (1, 1), False, (0, 0), 1)
            of_x = torch.ops.aten.convolution_backward(of_output, x, weight, None, *steps, (True, False, False))[0]
        of_bias = of_output.sum((0, 2, 3)) if needs_bias else None
        return of_x, _weight_gradient(of_output, x, weight, ctx.padding), of_bias, None


def _weight_gradient(of_output: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    (rows, columns), (above, beside) = weight.shape[2:], padding
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, beside, beside, above, above))
    width = padded.shape[2]
    # Zeros at the right and below put outputs on the grid of inputs: there, what a tap saw is a fixed way ahead.
    gradient = F.pad(of_output.permute(0, 2, 3, 1), (0, 0, 0, columns - 1, 0, rows - 1)).flatten(0, 2)
    seen = padded.flatten(0, 2)
    found = torch.empty_like(weight, memory_format=torch.channels_last)
    for row in range(rows):
        for column in range(columns):
            ahead = row * width + column
            torch.mm(gradient[: len(gradient) - ahead].T, seen[ahead:], out=found[:, :, row, column])
    return found
