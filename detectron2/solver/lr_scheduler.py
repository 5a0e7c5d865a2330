"""Learning rates as functions of `where`, the fraction 0..1 of training that is done."""

from __future__ import annotations

from typing import Any

import torch
from fvcore.common import param_scheduler as schedules
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["LRMultiplier", "WarmupParamScheduler"]


class WarmupParamScheduler(schedules.CompositeParamScheduler):
    """Another schedule with a warm-up in front."""

    def __init__(
        self,
        scheduler: schedules.ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        """
        Args:
            warmup_factor: the warm-up starts at this factor of the schedule's first value.
            warmup_length: fraction 0..1 of training that the warm-up takes.
            warmup_method: "linear" rises to the schedule's value at the warm-up's end; "constant" stays low till then.
            rescale_interval: squeeze the whole schedule into what is left, instead of covering its beginning.
        """
        if rescale_interval and warmup_length >= 1:
            raise ValueError("SOLVER.RESCALE_INTERVAL needs SOLVER.WARMUP_ITERS below SOLVER.MAX_ITER")
        start = warmup_factor * scheduler(0.0)
        # Rescaled, the schedule begins where the warm-up ends; covered, it is there already on its way.
        end = scheduler(0.0 if rescale_interval else warmup_length)
        warmups: dict[str, schedules.ParamScheduler] = {
            "constant": schedules.ConstantParamScheduler(start),
            "linear": schedules.LinearParamScheduler(start, end),
        }
        if warmup_method not in warmups:
            raise ValueError(f"SOLVER.WARMUP_METHOD '{warmup_method}' is unknown: use {' or '.join(sorted(warmups))}")
        super().__init__(
            [warmups[warmup_method], scheduler],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
            lengths=[warmup_length, 1 - warmup_length],
        )


class LRMultiplier(LRScheduler):
    """Multiplies each parameter group's initial learning rate by a schedule's value; call step() every iteration."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, multiplier: schedules.ParamScheduler, max_iter: int, last_iter: int = -1
    ) -> None:
        """`max_iter` is of the whole training; `last_iter` the last one done where training goes on, -1 for none."""
        if not isinstance(multiplier, schedules.ParamScheduler):
            raise TypeError(f"multiplier must be a fvcore ParamScheduler, not {type(multiplier).__name__}")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, object]:
        # The schedule comes from the configuration; a checkpoint holds only how far training has come.
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[Any]:
        """The learning rate of each parameter group now."""
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [rate * factor for rate in self.base_lrs]
