"""Parameter groups, gradient clipping and schedules."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.solver import (
    LR_SCHEDULE_REGISTRY,
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
)
from detectron2.solver.build import SGD, FusedSGD


def solver_cfg(**settings: Any) -> CfgNode:
    cfg = get_cfg()
    for name, value in {"BASE_LR": 1.0, "MAX_ITER": 40, "STEPS": (20, 30), "WARMUP_ITERS": 10, **settings}.items():
        cfg.SOLVER[name] = value
    return cfg


def rates(cfg: CfgNode) -> list[float]:
    """The learning rate at every iteration, and once more after the last, as a trainer's hook asks for it."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(cfg.SOLVER.MAX_ITER):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_multi_step_with_linear_warmup() -> None:
    seen = rates(solver_cfg())
    assert seen[:10] == pytest.approx([0.001 * (1 - i / 10) + i / 10 for i in range(10)])
    assert seen[10:20] == pytest.approx([1.0] * 10)
    assert seen[20:30] == pytest.approx([0.1] * 10)
    assert seen[30:] == pytest.approx([0.01] * 11)


def test_constant_warmup() -> None:
    seen = rates(solver_cfg(WARMUP_METHOD="constant", WARMUP_FACTOR=0.2))
    assert seen[:10] == pytest.approx([0.2] * 10)
    assert seen[10] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(
            {"LR_SCHEDULER_NAME": "WarmupCosineLR"},
            {10: 0.5 * (1 + math.cos(math.pi / 4)), 20: 0.5, 40: 0.0},
            id="cosine",
        ),
        pytest.param({"LR_SCHEDULER_NAME": "WarmupCosineLR", "BASE_LR_END": 0.2}, {20: 0.6, 40: 0.2}, id="cosine-end"),
        pytest.param(
            {"LR_SCHEDULER_NAME": "WarmupStepWithFixedGammaLR"},
            {10: 0.1, 19: 0.1, 20: 0.01, 29: 0.01, 30: 0.001, 40: 0.001},
            id="step",
        ),
        pytest.param({"STEPS": (20, 30, 40, 99)}, {19: 1.0, 20: 0.1, 40: 0.01}, id="steps-past-the-end"),
        pytest.param({"STEPS": ()}, {10: 1.0, 40: 1.0}, id="no-steps"),
        pytest.param({"WARMUP_ITERS": 0}, {0: 1.0, 20: 0.1}, id="no-warmup"),
        pytest.param({"WARMUP_ITERS": 400}, {0: 0.001}, id="warmup-longer-than-training"),
        pytest.param({"RESCALE_INTERVAL": True, "STEPS": (20,)}, {10: 1.0, 24: 1.0, 25: 0.1}, id="rescaled"),
    ],
)
def test_schedules(settings: dict[str, Any], expected: dict[int, float]) -> None:
    seen = rates(solver_cfg(**settings))
    assert {i: seen[i] for i in expected} == pytest.approx(expected, abs=1e-9)


@given(st.sampled_from(sorted(name for name, _ in LR_SCHEDULE_REGISTRY)), st.integers(4, 60), st.integers(0, 80))
def test_schedules_stay_between_zero_and_the_base_rate(name: str, max_iter: int, warmup: int) -> None:
    cfg = solver_cfg(LR_SCHEDULER_NAME=name, MAX_ITER=max_iter, WARMUP_ITERS=warmup, STEPS=(max_iter // 2,))
    assert all(-1e-12 <= rate <= 1 + 1e-9 for rate in rates(cfg))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        pytest.param({"LR_SCHEDULER_NAME": "Nope"}, KeyError, "WarmupCosineLR", id="name"),
        pytest.param({"WARMUP_METHOD": "jump"}, ValueError, "jump", id="warmup"),
        pytest.param({"STEPS": (30, 20)}, ValueError, "STEPS", id="falling-steps"),
        pytest.param({"STEPS": (0, 20)}, ValueError, "STEPS", id="step-at-0"),
        pytest.param({"RESCALE_INTERVAL": True, "WARMUP_ITERS": 40}, ValueError, "WARMUP_ITERS", id="no-room"),
        pytest.param({"LR_SCHEDULER_NAME": "WarmupCosineLR", "BASE_LR_END": 2.0}, ValueError, "BASE_LR_END", id="end"),
    ],
)
def test_wrong_schedules(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        rates(solver_cfg(**settings))


def test_extensions_register_schedules() -> None:
    def HalvedLR(cfg: CfgNode) -> Any:
        from fvcore.common.param_scheduler import LinearParamScheduler

        return LinearParamScheduler(1.0, 0.5)

    if "HalvedLR" not in LR_SCHEDULE_REGISTRY:
        LR_SCHEDULE_REGISTRY.register(HalvedLR)
    assert rates(solver_cfg(LR_SCHEDULER_NAME="HalvedLR"))[-1] == pytest.approx(0.5)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        self.tied = self.conv


def groups_by_count(groups: list[dict[str, Any]]) -> dict[tuple[float | None, float | None], int]:
    return {(group.get("lr"), group.get("weight_decay")): len(group["params"]) for group in groups}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, {(None, None): 4}, id="nothing"),
        pytest.param({"base_lr": 1.0, "weight_decay": 0.1}, {(1.0, 0.1): 4}, id="equal"),
        pytest.param({"weight_decay": 0.1, "weight_decay_norm": 0.0}, {(None, 0.1): 2, (None, 0.0): 2}, id="norm"),
        pytest.param(
            {"base_lr": 1.0, "bias_lr_factor": 2.0, "weight_decay_bias": 0.5},
            {(1.0, None): 2, (2.0, 0.5): 2},
            id="bias",
        ),
        pytest.param(
            {"base_lr": 1.0, "lr_factor_func": lambda name: 0.1 if name.startswith("conv.") else 1.0},
            {(0.1, None): 2, (1.0, None): 2},
            id="factor-by-name",
        ),
        pytest.param(
            {"base_lr": 1.0, "overrides": {"weight": {"lr": 7.0}}}, {(7.0, None): 2, (1.0, None): 2}, id="overrides"
        ),
    ],
)
def test_parameter_groups(settings: dict[str, Any], expected: dict[tuple[float | None, float | None], int]) -> None:
    assert groups_by_count(get_default_optimizer_params(Net(), **settings)) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"bias_lr_factor": 2.0}, "base_lr", id="bias-without-base"),
        pytest.param({"lr_factor_func": len}, "base_lr", id="factor-without-base"),
        pytest.param({"weight_decay_bias": 0.1, "overrides": {"bias": {}}}, "bias", id="bias-twice"),
    ],
)
def test_wrong_parameter_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        get_default_optimizer_params(Net(), **settings)


def test_build_optimizer_follows_the_config() -> None:
    cfg = solver_cfg(NESTEROV=True, BIAS_LR_FACTOR=2.0, WEIGHT_DECAY=0.3, WEIGHT_DECAY_BIAS=0.0)
    optimizer = build_optimizer(cfg, Net())
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["nesterov"]
    assert optimizer.defaults["momentum"] == 0.9
    counts = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert counts == {(1.0, 0.3): 1, (2.0, 0.0): 2, (1.0, 0.0): 1}


@pytest.mark.parametrize(
    ("kind", "norm_type", "expected"),
    [
        pytest.param("value", 2.0, ([1.0, 1.0], [0.5, 0.0]), id="value"),
        pytest.param("norm", 2.0, ([0.6, 0.8], [0.5, 0.0]), id="norm"),
        pytest.param("norm", math.inf, ([0.75, 1.0], [0.5, 0.0]), id="norm-inf"),
        pytest.param("full_model", 1.0, ([3 / 7.5, 4 / 7.5], [0.5 / 7.5, 0.0]), id="full-model"),
    ],
)
def test_gradient_clipping(kind: str, norm_type: float, expected: tuple[list[float], list[float]]) -> None:
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list(["ENABLED", True, "CLIP_TYPE", kind, "NORM_TYPE", norm_type])
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)(parameters, lr=1.0)
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5, 0.0])
    optimizer.step()
    for parameter, step in zip(parameters[:2], expected, strict=True):
        torch.testing.assert_close(parameter.data, -torch.tensor(step), rtol=1e-4, atol=1e-6)
    assert parameters[2].eq(0).all(), "a parameter without gradient stays"


def test_an_optimizer_that_is_built_already_clips_from_then_on() -> None:
    cfg = get_cfg()
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    assert maybe_add_gradient_clipping(cfg, optimizer) is optimizer
    assert type(optimizer) is torch.optim.SGD
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    assert maybe_add_gradient_clipping(cfg, optimizer) is optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    parameter.grad = torch.tensor([3.0, 0.5])
    optimizer.step()
    assert parameter.tolist() == [-1.0, -0.5]


def test_clipping_off_and_unknown() -> None:
    cfg = get_cfg()
    assert maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list(["ENABLED", True, "CLIP_TYPE", "squash"])
    with pytest.raises(ValueError, match="squash.*full_model"):
        maybe_add_gradient_clipping(cfg, torch.optim.SGD)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_norms_are_clipped_as_torch_clips_each_parameter(norm_type: float) -> None:
    torch.manual_seed(0)
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list(["ENABLED", True, "CLIP_TYPE", "norm", "NORM_TYPE", norm_type])
    expected = [nn.Parameter(torch.zeros(size, 3)) for size in range(1, 200)]
    clipped = copy.deepcopy(expected)
    for parameter, other in zip(expected, clipped, strict=True):
        parameter.grad = torch.randn(parameter.shape) * torch.rand(()) * 2
        other.grad = parameter.grad.clone()
        nn.utils.clip_grad_norm_(parameter, 1.0, norm_type)
    torch.optim.SGD(expected, lr=1.0).step()
    maybe_add_gradient_clipping(cfg, torch.optim.SGD)(clipped, lr=1.0).step()
    torch.testing.assert_close(clipped, expected, rtol=0, atol=0)


def trained(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, found_inf: Sequence[float]) -> torch.Tensor:
    """The parameter after a step a number; 1.0 stands for gradients that are not finite."""
    for value in found_inf:
        parameter.grad = torch.full_like(parameter, math.nan if value else 0.5)
        if isinstance(optimizer, FusedSGD):
            optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(value)
            optimizer.step()
        elif not value:
            optimizer.step()
    return parameter.detach().clone()


@pytest.mark.parametrize("found_inf", [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]], ids=["finite", "first is not"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_fused_optimizer_leaves_out_steps_that_are_not_finite(found_inf: list[float], nesterov: bool) -> None:
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.01}
    parameters = [nn.Parameter(torch.ones(4)) for _ in range(2)]
    plain, fused = torch.optim.SGD(parameters[:1], **options), FusedSGD(parameters[1:], **options)
    expected = trained(plain, parameters[0], found_inf)
    torch.testing.assert_close(trained(fused, parameters[1], found_inf), expected)
    fused.load_state_dict(copy.deepcopy(plain.state_dict()))  # of an earlier version's checkpoint
    torch.testing.assert_close(trained(fused, parameters[1], [1.0, 0.0]), trained(plain, parameters[0], [0.0]))


@pytest.mark.parametrize(("before", "after"), [(SGD, FusedSGD), (FusedSGD, SGD), (torch.optim.SGD, SGD)])
@pytest.mark.parametrize("contiguous_before", [True, False])
def test_an_optimizer_goes_on_from_another_kind_and_memory_layout(before, after, contiguous_before) -> None:
    torch.manual_seed(0)
    layouts = [torch.contiguous_format, torch.channels_last]
    if not contiguous_before:
        layouts.reverse()
    weights = torch.randn(3, 4, 3, 3)
    gradient, options = torch.randn_like(weights), {"lr": 0.1, "momentum": 0.9}

    def stepped(kind: type, parameter: nn.Parameter, state: dict | None) -> torch.optim.Optimizer:
        optimizer = kind([parameter], **options)
        if state:
            optimizer.load_state_dict(copy.deepcopy(state))
        parameter.grad = gradient.to(memory_format=layouts[bool(state)])
        optimizer.step()
        return optimizer

    first = nn.Parameter(weights.clone().to(memory_format=layouts[0]))
    state = stepped(before, first, None).state_dict()
    second = nn.Parameter(first.detach().clone(memory_format=layouts[1]))
    resumed = stepped(after, second, state)
    assert resumed.param_groups[0]["fused"] == (True if after is FusedSGD else None)
    assert resumed.state[second]["momentum_buffer"].stride() == second.stride()
    torch.testing.assert_close(second.detach(), weights - 0.1 * (1 + 1.9) * gradient)


def test_the_fused_optimizer_is_for_mixed_precision_on_gpus() -> None:
    cfg = solver_cfg()
    cfg.SOLVER.AMP.ENABLED = True
    assert type(build_optimizer(cfg, Net())) is SGD
