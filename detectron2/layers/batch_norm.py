"""Normalisation layers and their names in config files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import BatchNorm2d
from typing_extensions import Self

from detectron2.layers.derived import Derived, is_being_trained
from detectron2.utils import comm


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm2d whose statistics and affine parameters are buffers: loaded and saved, never trained."""

    _version = 3

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        # the variance plus eps is one: a fresh layer is the identity
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        self._folded: Derived[tuple[Tensor, Tensor]] = Derived()

    def train(self, mode: bool = True) -> Self:
        """As of Conv2d."""
        self._folded.forget()
        return super().train(mode)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What each channel is multiplied by, and what is then added, both (C,).

        In training on a GPU they are calculated once for given buffers, which spares it hundreds of small kernels a
        step. Elsewhere a change through `Tensor.data` is seen, too; on a processor keeping them would gain nothing.
        """
        if self.weight.device.type == "cpu" or not is_being_trained(self):
            self._folded.forget()
            return _scale_and_shift(self)
        buffers = (self.weight, self.bias, self.running_mean, self.running_var)
        return self._folded.get(buffers, lambda: _scale_and_shift(self))

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        # unlike batch_norm's, the backward pass of a constant scale and shift needs no copy of the input
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift.to(x.dtype).view(1, -1, 1, 1), x, scale.to(x.dtype).view(1, -1, 1, 1))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        # version 1 files hold the folded scale and shift only
        if (local_metadata.get("version") or 1) < 2 and prefix + "weight" in state_dict:
            state_dict.setdefault(prefix + "running_mean", torch.zeros_like(self.running_mean))
            state_dict.setdefault(prefix + "running_var", torch.ones_like(self.running_var))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        return f"num_features={self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every BatchNorm2d and SyncBatchNorm in `module` by a frozen one of equal output in eval mode.

        Children are replaced in place; use the result, as `module` itself may be the one replaced.
        """
        if isinstance(module, (BatchNorm2d, nn.SyncBatchNorm)):
            return cls._frozen_copy(module)
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module

    @classmethod
    def _frozen_copy(cls, norm: BatchNorm2d | nn.SyncBatchNorm) -> FrozenBatchNorm2d:
        if norm.running_mean is None:
            raise ValueError(f"cannot freeze {norm}: it keeps no running statistics")
        frozen = cls(norm.num_features, norm.eps).to(norm.running_mean.device)
        frozen.load_state_dict(norm.state_dict(), strict=False)
        return frozen.train(norm.training)


def constant_scale_and_shift(norm: nn.Module | None) -> tuple[Tensor, Tensor] | None:
    """By what `norm` multiplies each channel and what it then adds, both (C,), where no input can change them.

    That is so for a FrozenBatchNorm2d, and in evaluation mode for a batch norm that keeps statistics; else None.
    """
    if type(norm) is FrozenBatchNorm2d:
        return norm.scale_and_shift()
    # by type: a subclass may do more
    if type(norm) not in (BatchNorm2d, SyncBatchNorm):
        return None
    batch_norm = cast(BatchNorm2d, norm)
    constant = not batch_norm.training and batch_norm.affine and batch_norm.running_mean is not None
    return _scale_and_shift(batch_norm) if constant else None


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


class LayerNorm(nn.Module):
    """Normalise each pixel of an NCHW map over its channels (Ba et al. 2016), with a scale and shift per channel."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.movedim(-1, 1)


class SyncBatchNorm(nn.SyncBatchNorm):
    """torch.nn.SyncBatchNorm that is a plain batch norm, on any device, where there is no other process.

    With others it needs a GPU, as torch's does.
    """

    def forward(self, input: Tensor) -> Tensor:
        # torch refuses the CPU before it checks the number of processes
        if comm.get_world_size() == 1 or dist.get_world_size(self.process_group) == 1:
            return super(nn.SyncBatchNorm, self).forward(input)
        return super().forward(input)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": BatchNorm2d,
    "SyncBN": SyncBatchNorm,
    "nnSyncBN": SyncBatchNorm,
    # in Detectron2 its own workarounds for faults of early versions of torch's
    "naiveSyncBN": SyncBatchNorm,
    "naiveSyncBN_N": SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": lambda channels: nn.GroupNorm(32, channels),
    "LN": LayerNorm,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """The normalisation layer for `out_channels`: by its config name, by a factory, or None for "" and None.

    Raises ValueError for a name that is not known.
    """
    if norm is None or norm == "":
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm not in _NORMS:
        raise ValueError(f"norm {norm!r} is not known; use one of {', '.join(_NORMS)} or ''")
    return _NORMS[norm](out_channels)
