"""The losses of an iteration: numbers to add up, and the metrics that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch
import torch.distributed as dist

from detectron2.utils import comm
from detectron2.utils.errors import InputError

Losses: TypeAlias = Mapping[str, torch.Tensor]


def as_numbers(losses: Losses) -> torch.Tensor:
    """The n losses, (n,) float32, on a GPU where one of them is there.

    A loss has one element, of any shape, and may be a constant on the processor beside losses on a GPU.

    Raises ValueError for one of more elements.
    """
    gpu = next((loss.device for loss in losses.values() if loss.device.type != "cpu"), None)
    return torch.stack([_as_number(name, loss, gpu) for name, loss in losses.items()])


def _as_number(name: str, loss: torch.Tensor, gpu: torch.device | None) -> torch.Tensor:
    if loss.numel() != 1:
        raise InputError(f"the loss {name!r} has shape {tuple(loss.shape)}; it must be one number, such as a mean")
    number = loss.float() if loss.dim() == 0 else loss.float().reshape(())
    return number if gpu is None else number.to(gpu, non_blocking=True)


def metrics_on_device(
    losses: Losses, data_time: float, prefix: str, iteration: int
) -> tuple[torch.Tensor, Callable[[list[float]], dict[str, float]]]:
    """What leaves the device, gathered from the processes, and what makes the metrics by name of it."""
    values = as_numbers(losses).detach()
    waited = torch.full((), data_time, device=values.device)
    if comm.get_world_size() > 1:
        dist.all_reduce(values)
        values /= comm.get_world_size()
        dist.all_reduce(waited, op=dist.ReduceOp.MAX)
    return torch.cat([values, waited[None]]), partial(_metrics, tuple(losses), prefix, iteration)


def _metrics(names: Sequence[str], prefix: str, iteration: int, values: list[float]) -> dict[str, float]:
    *numbers, data_time = values
    losses = dict(zip(names, numbers, strict=True))
    if not math.isfinite(sum(numbers)):
        listed = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        raise FloatingPointError(
            f"the loss became infinite or NaN at iteration {iteration} ({listed}); lower SOLVER.BASE_LR, lengthen "
            "SOLVER.WARMUP_ITERS, or set SOLVER.CLIP_GRADIENTS.ENABLED to True"
        )
    metrics = {"data_time": data_time, f"{prefix}total_loss": sum(numbers)}
    return {**metrics, **losses} if len(losses) > 1 else metrics
