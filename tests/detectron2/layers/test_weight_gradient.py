"""Gradients of convolutions with channels last: PyTorch's own, to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.layers import Conv2d, FrozenBatchNorm2d, weight_gradient

SHAPES = {  # kernel and padding
    "3x3": ((3, 3), (1, 1)),
    "without padding": ((3, 3), (0, 0)),
    "wide": ((1, 5), (0, 2)),
    "tall": ((4, 1), (3, 0)),
    "even": ((2, 2), (1, 0)),
    "as large as the input": ((5, 6), (0, 0)),
    "1x1": ((1, 1), (0, 0)),
}


def channels_last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights of each convolution that goes the way of a processor with AVX2."""
    found: list[tuple[int, ...]] = []
    convolve = weight_gradient.convolve

    def spy(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        found.append(tuple(weight.shape))
        return convolve(x, weight, *rest)

    monkeypatch.setattr(weight_gradient, "convolve", spy)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return found


@pytest.mark.parametrize(("kernel", "padding"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_are_those_of_pytorch(
    kernel: tuple[int, int], padding: tuple[int, int], layout: torch.memory_format
) -> None:
    double = torch.float64
    x, weight = channels_last(3, 4, 5, 6, dtype=double), channels_last(2, 4, *kernel, dtype=double)
    inputs = [x, weight, torch.randn(2, dtype=double, requires_grad=True)]
    expected = F.conv2d(*inputs, padding=padding)
    output = weight_gradient.convolve(*inputs, padding)
    torch.testing.assert_close(output, expected)
    gradient = torch.randn_like(expected).contiguous(memory_format=layout)
    for got, wanted in zip(
        torch.autograd.grad(output, inputs, gradient), torch.autograd.grad(expected, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(got, wanted)
        assert got.is_contiguous() or got.is_contiguous(memory_format=torch.channels_last)


def test_only_what_is_asked_for_has_a_gradient() -> None:
    x, weight = channels_last(1, 4, 5, 6).detach(), channels_last(2, 4, 3, 3)
    weight_gradient.convolve(x, weight, torch.zeros(2), (1, 1)).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize("norm", [None, FrozenBatchNorm2d(6)], ids=["no norm", "frozen norm"])
def test_convolutions_take_it(calls: list[tuple[int, ...]], norm: torch.nn.Module | None) -> None:
    x = channels_last(2, 4, 5, 7)
    layer = Conv2d(4, 6, 3, padding=1, bias=False, norm=norm).to(memory_format=torch.channels_last)
    layer(x).square().sum().backward()
    assert calls == [(6, 4, 3, 3)]
    expected = F.conv2d(x, layer.weight, padding=1)
    expected = norm(expected) if norm else expected
    (wanted,) = torch.autograd.grad(expected.square().sum(), [layer.weight])
    torch.testing.assert_close(layer.weight.grad, wanted)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": 3, "groups": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_other_convolutions_stay_with_pytorch(calls: list[tuple[int, ...]], arguments: dict[str, Any]) -> None:
    layer = Conv2d(4, 6, **arguments)
    expected = torch.nn.Conv2d(4, 6, **arguments)
    expected.load_state_dict(layer.state_dict())
    x = channels_last(2, 4, 5, 7)
    torch.testing.assert_close(layer(x), expected(x))
    assert not calls


def test_a_layer_may_be_changed_later(calls: list[tuple[int, ...]]) -> None:
    layer, x = Conv2d(4, 6, 3, padding=1), channels_last(2, 4, 5, 7)
    layer.stride = (2, 2)
    assert layer(x).shape == (2, 6, 3, 4)
    assert not calls


def test_other_inputs_stay_with_pytorch(calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Conv2d(4, 6, 3, padding=1), channels_last(2, 4, 5, 7)
    layer(x.contiguous())
    layer(x[:0])
    with torch.no_grad():
        layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.double()(x.double())
    layer.float().requires_grad_(False)(x)
    layer.requires_grad_()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    layer(x)
    assert not calls
