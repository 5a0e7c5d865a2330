"""A model for training in several processes."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.utils import comm

__all__ = ["create_ddp_model"]

# What newer PyTorch calls broadcast_buffers.
_RENAMED = "forward_sync_buffers"


def create_ddp_model(model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any) -> nn.Module:
    """The model itself in a single process, else wrapped in DistributedDataParallel (`kwargs` are its).

    Raises:
        ValueError: a model on the CPU has SyncBN layers, which PyTorch has for GPUs only.
    """
    if comm.get_world_size() == 1:
        return model
    if next(model.parameters()).is_cuda:
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    else:
        _refuse_sync_bn(model)
    if "broadcast_buffers" in kwargs and _RENAMED in inspect.signature(DistributedDataParallel).parameters:
        kwargs[_RENAMED] = kwargs.pop("broadcast_buffers")
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        ddp.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return ddp


def _refuse_sync_bn(model: nn.Module) -> None:
    synced = [name for name, module in model.named_modules() if isinstance(module, nn.SyncBatchNorm)]
    if synced:
        raise ValueError(
            f"{len(synced)} SyncBN layers ('{synced[0]}', ...) cannot be trained by several processes on the CPU: set "
            "the NORM of MODEL.RESNETS, FPN, ROI_BOX_HEAD and ROI_MASK_HEAD to FrozenBN, GN or BN, or train on GPUs"
        )
