"""Winograd's 3x3 convolutions: values and gradients are PyTorch's own, to rounding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.layers.cpu import winograd

SHAPES = {
    "tiles fit": (1, 8, 12),
    "odd sides": (2, 7, 13),
    "smaller than a tile": (3, 2, 3),
    "one pixel": (1, 1, 1),
    "many maps": (9, 5, 4),
}


def channels_last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' maps and filters are large enough for Winograd."""
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_CHANNELS_WEIGHT_GRADIENT", 1)
    monkeypatch.setattr(winograd, "MIN_TILES", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights of each convolution that is not PyTorch's, as on a processor with AVX2."""
    found: list[tuple[int, ...]] = []
    apply = winograd._Conv3x3.apply

    def spy(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found.append(tuple(weight.shape))
        return apply(x, weight, bias)

    monkeypatch.setattr(winograd, "_Conv3x3", SimpleNamespace(apply=spy))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    return found


def assert_as_pytorch(shape: tuple[int, int, int], layout: torch.memory_format = torch.channels_last) -> None:
    count, height, width = shape
    double = torch.float64
    x, weight = channels_last(count, 4, height, width, dtype=double), channels_last(2, 4, 3, 3, dtype=double)
    inputs = [x, weight, torch.randn(2, dtype=double, requires_grad=True)]
    expected = F.conv2d(*inputs, padding=1)
    output = winograd._Conv3x3.apply(*inputs)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous(memory_format=torch.channels_last)
    output, expected = F.leaky_relu_(output), F.leaky_relu(expected)  # in place, as residual blocks do
    gradient = torch.randn_like(expected).contiguous(memory_format=layout)
    for got, wanted in zip(
        torch.autograd.grad(output, inputs, gradient), torch.autograd.grad(expected, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(got, wanted)
        assert got.is_contiguous() or got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_pytorch(
    large: None, shape: tuple[int, int, int], layout: torch.memory_format
) -> None:
    assert_as_pytorch(shape, layout)


@pytest.mark.parametrize("tiles", [1, 2, 5, 7], ids="{} tiles at once".format)
def test_blocks_make_no_difference(large: None, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "MAX_BLOCK", tiles * 36 * 4)
    assert_as_pytorch((5, 10, 7))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_small_maps_have_no_tiles(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], layout: torch.memory_format
) -> None:
    monkeypatch.delattr(winograd, "_Tiles")
    assert_as_pytorch(shape, layout)


def test_it_rounds_about_as_a_plain_convolution(large: None) -> None:
    x, weight = channels_last(1, 256, 24, 24).detach().relu(), channels_last(256, 256, 3, 3).detach()
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error, plain = (
        float((found - exact).square().mean().sqrt() / exact.std())
        for found in (winograd._Conv3x3.apply(x, weight, None), F.conv2d(x, weight, padding=1))
    )
    assert error < 4 * plain


def test_only_what_is_asked_for_has_a_gradient() -> None:
    x, weight = channels_last(1, 4, 5, 6).detach(), channels_last(2, 4, 3, 3)
    winograd._Conv3x3.apply(x, weight, torch.zeros(2)).sum().backward()
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
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 5, "padding": 1},
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 1, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
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
    layer.cpu_kernels = False
    layer(x)
    layer.cpu_kernels = True
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    layer(x)
    assert not calls


def test_large_maps_take_it_without_gradients_too(large: None, calls: list[tuple[int, ...]]) -> None:
    layer, x = Conv2d(4, 6, 3, padding=1), channels_last(2, 4, 5, 7)
    with torch.inference_mode():
        expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert calls == [(6, 4, 3, 3)]
