"""Builds the optimizer and its schedule from the SOLVER part of a configuration."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from fvcore.common import param_scheduler as schedules
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from detectron2.config import CfgNode
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from detectron2.utils.registry import Registry

__all__ = [
    "LR_SCHEDULE_REGISTRY", "build_lr_scheduler", "build_optimizer", "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
]  # fmt: skip

LR_SCHEDULE_REGISTRY = Registry("LR_SCHEDULE")
"""SOLVER.LR_SCHEDULER_NAME -> function of a config that returns the schedule after the warm-up, beginning at 1."""

# All batch and instance norms derive from the first.
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD over the model's trainable parameters, with weight decay, and clipping if the config wants it."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    momentum = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    sgd = maybe_add_gradient_clipping(cfg, FusedSGD if _takes_scaled_steps(cfg, params) else SGD)
    return sgd(params, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, **momentum)


def _takes_scaled_steps(cfg: CfgNode, params: list[dict[str, Any]]) -> bool:
    """Whether a GradScaler is to come, and the fused kernel can serve: before PyTorch 2.6 it refuses channels last."""
    on_gpu = all(parameter.device.type == "cuda" for group in params for parameter in group["params"])
    return cfg.SOLVER.AMP.ENABLED and on_gpu and torch.__version__ >= (2, 6)  # type: ignore[operator]


class SGD(torch.optim.SGD):
    """PyTorch's, which goes on from the state of any other kind of SGD.

    As loaded, groups would have the other's kernel, and buffers its memory layout: a fused kernel takes the buffers of
    weights in another layout for those of other weights, or refuses them.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = [{name: group[name] for name in ("fused", "foreach")} for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, kernels in zip(self.param_groups, own, strict=True):
            group.update(kernels)
            for parameter in group["params"]:
                state = self.state.get(parameter, {})
                buffer = state.get("momentum_buffer")
                if buffer is not None and buffer.stride() != parameter.stride():
                    state["momentum_buffer"] = torch.empty_like(parameter, requires_grad=False).copy_(buffer)


class FusedSGD(SGD):
    """SGD whose kernel itself leaves out a step with gradients that are not finite: no GradScaler waits for the GPU."""

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, fused=True, **options)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        # PyTorch leaves buffers undefined where it makes them in a step that is left out. Zeros have the same result.
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                if parameter.grad is not None and "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return super().step(closure)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: each trainable parameter once, those with equal settings together.

    Args:
        base_lr, weight_decay: None leaves them to the optimizer.
        lr_factor_func: learning-rate factor from a parameter's full name; it and bias_lr_factor need base_lr.
        overrides: settings by a parameter's own name, e.g. {"embedding": {"lr": 0.01, "weight_decay": 0.0}}.

    Raises:
        ValueError: a learning-rate factor without base_lr, or two settings for "bias".
    """
    overrides = dict(overrides or {})
    bias_factor = None if bias_lr_factor == 1.0 else bias_lr_factor
    for name, factor in (("bias_lr_factor", bias_factor), ("lr_factor_func", lr_factor_func)):
        if factor is not None and base_lr is None:
            raise ValueError(f"{name} needs base_lr")
    bias_lr = base_lr * bias_factor if base_lr is not None and bias_factor is not None else None
    bias = _known({"lr": bias_lr, "weight_decay": weight_decay_bias})
    if bias and "bias" in overrides:
        raise ValueError("overrides has 'bias', which bias_lr_factor and weight_decay_bias set already")
    if bias:
        overrides["bias"] = bias
    defaults = _known({"lr": base_lr, "weight_decay": weight_decay})

    groups: dict[tuple[tuple[str, float], ...], list[nn.Parameter]] = {}
    for module, module_name, name, parameter in _trainable_parameters(model):
        settings = dict(defaults)
        if isinstance(module, _NORMS) and weight_decay_norm is not None:
            settings["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            settings["lr"] *= lr_factor_func(f"{module_name}.{name}" if module_name else name)
        settings.update(overrides.get(name, {}))
        groups.setdefault(tuple(sorted(settings.items())), []).append(parameter)
    return [{"params": parameters, **dict(settings)} for settings, parameters in groups.items()]


def _known(settings: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in settings.items() if value is not None}


def _trainable_parameters(model: nn.Module) -> Iterable[tuple[nn.Module, str, str, nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module, module_name, name, parameter


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: Any) -> Any:
    """The optimizer class, or with SOLVER.CLIP_GRADIENTS.ENABLED a subclass that clips gradients before each step.

    Of an optimizer that is built already, the same object with such a step. CLIP_TYPE "value" clips each number to
    +-CLIP_VALUE; "norm" scales each parameter's gradient, "full_model" all gradients together, to a norm (of order
    NORM_TYPE) of at most CLIP_VALUE.
    """
    settings = cfg.SOLVER.CLIP_GRADIENTS
    if not settings.ENABLED:
        return optimizer
    clip = _gradient_clipper(settings.CLIP_TYPE, settings.CLIP_VALUE, settings.NORM_TYPE)
    base: Any = optimizer if isinstance(optimizer, type) else type(optimizer)

    def step(self: Any, closure: Callable[[], float] | None = None) -> float | None:
        clip(list(itertools.chain.from_iterable(group["params"] for group in self.param_groups)))
        return base.step(self, closure)

    clipping = type(f"{base.__name__}WithGradientClip", (base,), {"step": step})
    if base is optimizer:
        return clipping
    optimizer.__class__ = clipping
    return optimizer


def _gradient_clipper(kind: str, limit: float, norm_type: float) -> Callable[[list[nn.Parameter]], Any]:
    clippers: dict[str, Callable[[list[nn.Parameter]], Any]] = {
        "value": lambda parameters: nn.utils.clip_grad_value_(parameters, limit),
        "norm": lambda parameters: _clip_each_norm(parameters, limit, norm_type),
        "full_model": lambda parameters: nn.utils.clip_grad_norm_(parameters, limit, norm_type),
    }
    if kind not in clippers:
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE '{kind}' is unknown: use {', '.join(clippers)}")
    return clippers[kind]


def _clip_each_norm(parameters: list[nn.Parameter], limit: float, norm_type: float) -> None:
    """nn.utils.clip_grad_norm_ of each parameter by itself, to the last bit, with a few operations for all of them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    norms = torch.stack(torch._foreach_norm(gradients, norm_type))
    totals = torch.linalg.vector_norm(norms.unsqueeze(1), norm_type, dim=1)  # torch's norm of a norm: it may round
    factors = (limit / (totals + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factors.unbind())


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """The schedule SOLVER.LR_SCHEDULER_NAME (of LR_SCHEDULE_REGISTRY) with its warm-up, over SOLVER.MAX_ITER."""
    name = cfg.SOLVER.LR_SCHEDULER_NAME
    if name not in LR_SCHEDULE_REGISTRY:
        known = ", ".join(sorted(known for known, _ in LR_SCHEDULE_REGISTRY))
        raise KeyError(f"SOLVER.LR_SCHEDULER_NAME '{name}' is unknown: use one of {known}")
    schedule = LR_SCHEDULE_REGISTRY.get(name)(cfg)
    solver, max_iter = cfg.SOLVER, cfg.SOLVER.MAX_ITER
    length = min(solver.WARMUP_ITERS / max_iter, 1.0)
    warmup = (solver.WARMUP_FACTOR, length, solver.WARMUP_METHOD, solver.RESCALE_INTERVAL)
    return LRMultiplier(optimizer, WarmupParamScheduler(schedule, *warmup), max_iter)


@LR_SCHEDULE_REGISTRY.register()
def WarmupMultiStepLR(cfg: CfgNode) -> schedules.ParamScheduler:  # noqa: N802
    """Times GAMMA at each of STEPS; steps at or after MAX_ITER never come."""
    steps = [step for step in cfg.SOLVER.STEPS if step < cfg.SOLVER.MAX_ITER]
    if any(step <= 0 for step in steps) or steps != sorted(set(steps)):
        raise ValueError(f"SOLVER.STEPS must be positive and rise, not {tuple(cfg.SOLVER.STEPS)}")
    return schedules.MultiStepParamScheduler(
        values=[cfg.SOLVER.GAMMA**k for k in range(len(steps) + 1)], milestones=steps, num_updates=cfg.SOLVER.MAX_ITER
    )


@LR_SCHEDULE_REGISTRY.register()
def WarmupCosineLR(cfg: CfgNode) -> schedules.ParamScheduler:  # noqa: N802
    """Half a cosine from BASE_LR down to BASE_LR_END."""
    end = cfg.SOLVER.BASE_LR_END / cfg.SOLVER.BASE_LR
    if not 0.0 <= end <= 1.0:
        raise ValueError(f"SOLVER.BASE_LR_END {cfg.SOLVER.BASE_LR_END} must lie in 0..BASE_LR ({cfg.SOLVER.BASE_LR})")
    return schedules.CosineParamScheduler(1.0, end)


@LR_SCHEDULE_REGISTRY.register()
def WarmupStepWithFixedGammaLR(cfg: CfgNode) -> schedules.ParamScheduler:  # noqa: N802
    """Times GAMMA, NUM_DECAYS times at equal distances."""
    return _StepsToTheEnd(
        base_value=1.0, gamma=cfg.SOLVER.GAMMA, num_decays=cfg.SOLVER.NUM_DECAYS, num_updates=cfg.SOLVER.MAX_ITER
    )


class _StepsToTheEnd(schedules.StepWithFixedGammaParamScheduler):
    """fvcore's steps are defined below 1 only; a schedule is called once more after the last iteration."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1 - 2 * self.WHERE_EPSILON))
