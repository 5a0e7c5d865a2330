"""LRMultiplier in a checkpoint, and its arguments."""

from __future__ import annotations

import pytest
import torch
from fvcore.common.param_scheduler import LinearParamScheduler, MultiStepParamScheduler
from torch import nn

from detectron2.solver import LRMultiplier, WarmupParamScheduler


def sgd(*rates: float) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def test_each_group_keeps_its_own_rate() -> None:
    optimizer = sgd(1.0, 0.1)
    scheduler = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), max_iter=4)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.75, 0.075])
    assert scheduler.get_last_lr() == pytest.approx([0.75, 0.075])


def test_a_checkpoint_holds_only_the_progress() -> None:
    scheduler = LRMultiplier(sgd(1.0), LinearParamScheduler(1.0, 0.0), max_iter=4)
    scheduler.optimizer.step()
    scheduler.step()
    state = scheduler.state_dict()
    assert state == {"base_lrs": [1.0], "last_epoch": 1}

    resumed = LRMultiplier(sgd(1.0), LinearParamScheduler(1.0, 0.0), max_iter=4)
    resumed.load_state_dict(state)
    resumed.optimizer.step()
    resumed.step()
    assert resumed.get_last_lr() == pytest.approx([0.5])


def test_something_else_than_a_schedule() -> None:
    with pytest.raises(TypeError, match="ParamScheduler"):
        LRMultiplier(sgd(1.0), lambda where: where, max_iter=4)  # type: ignore[arg-type]


def test_warmup_rises_to_the_schedule_where_it_is_by_then() -> None:
    schedule = WarmupParamScheduler(LinearParamScheduler(1.0, 0.0), 0.5, 0.5)
    assert [schedule(where) for where in (0.0, 0.25, 0.75)] == pytest.approx([0.5, 0.5, 0.25])


def test_rescaled_warmup_begins_at_the_first_value() -> None:
    steps = MultiStepParamScheduler([1.0, 0.1], milestones=[50, 100])
    schedule = WarmupParamScheduler(steps, 0.0, 0.5, rescale_interval=True)
    assert [schedule(where) for where in (0.25, 0.5, 0.74, 0.76)] == pytest.approx([0.5, 1.0, 1.0, 0.1])
