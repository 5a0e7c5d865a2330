"""Whole networks by their configured name."""

from __future__ import annotations

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.layers.cpu import set_cpu_kernels
from detectron2.utils.registry import Registry

__all__ = ["META_ARCH_REGISTRY", "build_model"]

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = "``(cfg) -> nn.Module`` by ``MODEL.META_ARCHITECTURE``."


def build_model(cfg: CfgNode) -> nn.Module:
    """Build ``MODEL.META_ARCHITECTURE`` on ``MODEL.DEVICE``, in training mode; ``MODEL.WEIGHTS`` is not loaded.

    Convolutions have their channels last in memory where that is faster: on CPUs, and on GPUs in mixed precision.
    `MODEL.CPU_KERNELS` "off" leaves every operator to PyTorch and torchvision (see :func:`set_cpu_kernels`).
    """
    device = torch.device(cfg.MODEL.DEVICE)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).to(device)
    set_cpu_kernels(model, cfg.MODEL.CPU_KERNELS)
    return model.to(memory_format=torch.channels_last) if device.type == "cpu" or cfg.SOLVER.AMP.ENABLED else model
