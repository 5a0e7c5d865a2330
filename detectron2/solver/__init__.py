"""Optimizers and learning-rate schedules, built from the SOLVER part of a configuration."""

from detectron2.solver.build import (
    LR_SCHEDULE_REGISTRY,
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
)
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler

__all__ = [
    "LR_SCHEDULE_REGISTRY",
    "LRMultiplier",
    "WarmupParamScheduler",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
]
