"""MODEL.CPU_KERNELS: a model computes the same with and without what is written for processors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectron2.layers.cpu import roi_align, rpn_head_gradient, winograd
from detectron2.modeling import build_model

KERNELS = {
    winograd: ["conv3x3", "_winograd", "_winograd_weight_gradient"],
    roi_align: ["roi_align"],
    rpn_head_gradient: ["with_sparse_gradient", "_sparse_gradients", "_dense_gradients"],
}
COPIES = {
    "as built": lambda model: model,
    "copy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the kernels that were called, as on a processor with AVX2 and for layers of any size."""
    names: set[str] = set()

    def noting(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: names.add(name) or kernel(*args)

    for module, kernels in KERNELS.items():
        for name in kernels:
            monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    for limit in ("MIN_CHANNELS", "MIN_CHANNELS_WEIGHT_GRADIENT", "MIN_TILES"):
        monkeypatch.setattr(winograd, limit, 0)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return names


@pytest.fixture
def results(small_cfg, make_input, storage) -> Callable[[str, Callable], dict[str, Tensor]]:
    """Losses, gradients and detections of an image with (a copy of) a model of this choice."""
    small_cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 16
    small_cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1000  # all proposals
    batch = [make_input([[10.0, 12, 50, 60], [70.0, 20, 110, 80]])]

    def run(choice: str, made: Callable[[nn.Module], nn.Module]) -> dict[str, Tensor]:
        small_cfg.MODEL.CPU_KERNELS = choice
        torch.manual_seed(0)
        model = made(build_model(small_cfg))
        losses = model(batch)
        sum(losses.values()).backward()
        found = {name: loss.detach() for name, loss in losses.items()}
        found |= {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
        with torch.no_grad():
            instances = model.eval()(batch)[0]["instances"]
        return {**found, "scores": instances.scores, "boxes": instances.pred_boxes.tensor}

    return run


@pytest.mark.parametrize("made", COPIES.values(), ids=COPIES)
def test_numbers_are_the_same_but_for_rounding(results, entered, made: Callable[[nn.Module], nn.Module]) -> None:
    fast = results("auto", made)
    assert entered == {name for names in KERNELS.values() for name in names}
    entered.clear()
    plain = results("off", made)
    assert not entered
    assert fast.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-4 * value.abs().max().item(), msg=name)


def test_a_wrong_choice_is_an_error(small_cfg) -> None:
    small_cfg.MODEL.CPU_KERNELS = "on"
    with pytest.raises(ValueError, match=r"MODEL.CPU_KERNELS is 'on'; it can be 'auto' or 'off'"):
        build_model(small_cfg)
