"""Torch's layers and functions with the arguments and empty inputs that detection needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import ConvTranspose2d, Linear
from torch.nn.functional import interpolate
from typing_extensions import Self

from detectron2.layers.batch_norm import constant_scale_and_shift
from detectron2.layers.cpu import winograd
from detectron2.layers.derived import Derived, is_being_trained
from detectron2.utils import comm

__all__ = [
    "Conv2d", "ConvTranspose2d", "Linear", "cat", "cross_entropy", "empty_input_loss_func_wrapper", "interpolate",
    "move_device_like", "nonzero_tuple",
]  # fmt: skip


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d followed by an optional normalisation module and activation function.

    A batch norm that only scales and shifts (see `constant_scale_and_shift`) is taken into weight and bias, which
    spares two passes over the output: the result is equal but for rounding, and hooks of the norm are not called.
    """

    cpu_kernels = True

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation
        self._constants: Derived[tuple[Tensor, Tensor]] = Derived()
        self._cast_shift: Derived[Tensor] = Derived()

    def train(self, mode: bool = True) -> Self:
        """Also where nothing changes: weights may have been set through `Tensor.data`, which nothing else tells."""
        self._constants.forget()
        self._cast_shift.forget()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        synced = self.training and isinstance(self.norm, nn.SyncBatchNorm) and comm.get_world_size() > 1
        if synced and x.numel() == 0:
            # its collective calls would wait for this worker for ever
            raise ValueError(f"SyncBatchNorm cannot train on an empty input of shape {tuple(x.shape)}")
        # 16-bit weights would be rounded once more; other paddings are not F.conv2d's
        can_fold = self.weight.dtype == torch.float32 and self.padding_mode == "zeros"
        affine = constant_scale_and_shift(self.norm) if can_fold else None
        if affine is not None:
            x = self._folded(x, *affine)
        else:
            x = super().forward(x)
            if self.norm is not None:
                x = self.norm(x)
        return x if self.activation is None else self.activation(x)

    def _folded(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The convolution with the norm taken in; in training on a GPU, what is not trained is calculated once."""
        dtype = _autocast_dtype(x.device.type)
        sources = [self.weight, scale, shift] if self.bias is None else [self.weight, self.bias, scale, shift]
        may_keep = self.weight.device.type != "cpu" and is_being_trained(self)
        if not may_keep or any(source.requires_grad for source in sources):
            self._constants.forget()  # a fused optimizer changes weights without counting that
            return self._conv_forward(x, *self._fold(scale, shift, dtype))
        folded = self._constants.get(sources, lambda: self._fold(scale, shift, dtype), dtype)
        return self._conv_forward(x, *folded)

    def _fold(self, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        weight = _scaled(self.weight, scale.view(-1, 1, 1, 1), dtype)
        if self.bias is not None:
            return weight, (shift + self.bias * scale).to(dtype)
        if shift.requires_grad or shift.device.type == "cpu" or not is_being_trained(self):
            self._cast_shift.forget()
            return weight, shift.to(dtype)
        return weight, self._cast_shift.get([shift], lambda: shift.to(dtype), dtype)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        settings = (self.kernel_size, self.padding, self.stride, self.dilation, self.groups, self.padding_mode)
        if self.cpu_kernels and settings == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros"):
            return winograd.conv3x3(x, weight, bias)
        if x.device.type != "cpu" or (dtype := _convolution_dtype(x)).itemsize > 2 or not self._makes_one_column(x):
            return super()._conv_forward(x, weight, bias)
        # oneDNN leaves rows of such an output, and of the weights' gradient, as it found the memory (PyTorch 2.14, AMX)
        with torch.autocast("cpu", enabled=False):
            y = super()._conv_forward(x.float(), weight.float(), None if bias is None else bias.float())
        return y.to(dtype)

    def _makes_one_column(self, x: Tensor) -> bool:
        """Whether strides across leave an output that is one pixel wide."""
        padding = 0 if isinstance(self.padding, str) else self.padding[1]  # "same" allows no strides
        spanned = self.dilation[1] * (self.kernel_size[1] - 1) + 1
        return self.stride[1] > 1 and x.shape[-1] + 2 * padding - spanned < self.stride[1]


def _autocast_dtype(device_type: str) -> torch.dtype:
    """What convolutions cast their input, weight and bias to."""
    # asked in this order, as PyTorch does not know every device, such as "meta", to have autocast
    is_cast = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    return torch.get_autocast_dtype(device_type) if is_cast else torch.float32


def _convolution_dtype(x: Tensor) -> torch.dtype:
    """What a convolution calculates in."""
    cast = _autocast_dtype(x.device.type)
    return x.dtype if cast is torch.float32 else cast


def _scaled(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype is torch.float32 or scale.requires_grad or not (weight.requires_grad and torch.is_grad_enabled()):
        return (weight * scale).to(dtype)
    scaled: Tensor = _ScaledInOneStep.apply(weight, scale, dtype)
    return scaled


class _ScaledInOneStep(torch.autograd.Function):
    """A product that is rounded as it is written, and so its gradient: autograd would take two passes for each."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(scale)
        return torch.mul(weight, scale, out=torch.empty_like(weight, dtype=dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (scale,) = ctx.saved_tensors
        return gradient * scale, None, None


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """torch.cat that does not copy a single tensor."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"cat takes a list or tuple of tensors, not {type(tensors).__name__}")
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def empty_input_loss_func_wrapper(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a loss's mean over no elements zero, with a gradient, instead of NaN."""

    def wrapped_loss_func(input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any) -> Tensor:
        if reduction == "mean" and target.numel() == 0:
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    return wrapped_loss_func


cross_entropy = empty_input_loss_func_wrapper(F.cross_entropy)


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """Indices of the elements that are not zero, one 1-D tensor a dimension; a scalar counts as 1-D."""
    return torch.atleast_1d(x).nonzero(as_tuple=True)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """`src` on the device of `dst`."""
    return src.to(dst.device)
