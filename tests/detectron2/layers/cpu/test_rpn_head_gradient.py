"""The gradient at the positions of sampled anchors alone, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.layers.cpu import rpn_head_gradient
from detectron2.modeling import StandardRPNHead


def maps_of_modules(head: StandardRPNHead, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = head.conv(feature)
    return head.objectness_logits(hidden), head.anchor_deltas(hidden)


def gradients(head: nn.Module, feature: torch.Tensor, maps: tuple, weights: tuple) -> list[torch.Tensor]:
    loss = sum((one * weight).sum() for one, weight in zip(maps, weights, strict=True))
    return list(torch.autograd.grad(loss, [feature, *head.parameters()], allow_unused=True))


def weights_at(places: list[tuple[int, int, int]], *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Random weights of the losses at (image, row, column), zero elsewhere."""
    chosen = []
    for one in maps:
        weight = torch.zeros_like(one)
        for image, row, column in places:
            weight[image, :, row, column] = torch.randn(one.shape[1])
        chosen.append(weight)
    return tuple(chosen)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
@pytest.mark.parametrize(
    "places",
    [
        [],
        [(0, 0, 0), (1, 0, 17), (0, 13, 0), (1, 13, 17)],
        [(0, 5, 6), (0, 5, 7), (0, 6, 6)],
        [(1, 0, 9), (0, 13, 17)],
        [(image, row, column) for image in range(2) for row in range(14) for column in range(18)],
    ],
    ids=["none", "corners", "neighbours", "last row of one image, first of the next", "all: dense"],
)
def test_as_pytorchs_own(places: list, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    head = StandardRPNHead(in_channels=6, num_anchors=3, conv_dims=[5]).to(memory_format=layout)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    feature = torch.randn(2, 6, 14, 18).to(memory_format=layout).requires_grad_()
    expected = maps_of_modules(head, feature)
    maps = tuple(one for (one,) in head([feature]))
    for one, other in zip(maps, expected, strict=True):
        assert torch.equal(one, other)
    weights = weights_at(places, *maps)
    for one, other in zip(
        gradients(head, feature, maps, weights), gradients(head, feature, expected, weights), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [20, 2], ids=["sparse", "dense"])
def test_only_what_is_trained_gets_a_gradient(side: int) -> None:
    head = StandardRPNHead(in_channels=4, num_anchors=1)
    feature = torch.randn(1, 4, side, side)
    head.conv.requires_grad_(False)
    head.anchor_deltas.requires_grad_(False)
    logits, _ = head([feature])
    logits[0][0, 0, 1, 1].backward()
    assert head.conv.weight.grad is None and feature.grad is None
    assert head.objectness_logits.bias.grad.item() == 1
    assert head.anchor_deltas.weight.grad is None


@pytest.mark.parametrize("change", ["hook", "gradient hook", "another layer", "autocast", "no gradient", "off"])
def test_modules_are_called_where_it_matters(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpn_head_gradient, "with_sparse_gradient", None)
    head = StandardRPNHead(in_channels=4, num_anchors=1)
    feature = torch.randn(1, 4, 5, 5)
    called = []
    if change == "hook":
        head.objectness_logits.register_forward_hook(lambda *_: called.append("hook"))
    elif change == "gradient hook":
        head.conv.weight.register_hook(lambda _: called.append("hook"))
    elif change == "another layer":
        head.anchor_deltas = nn.Sequential(head.anchor_deltas)
    head.cpu_kernels = change != "off"
    with torch.autocast("cpu", enabled=change == "autocast"), torch.set_grad_enabled(change != "no gradient"):
        logits, _ = head([feature])
    if "hook" in change:
        logits[0].sum().backward()
    assert called == ["hook"] * ("hook" in change)


def test_forward_is_the_heads_own_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    head = StandardRPNHead(in_channels=4, num_anchors=1)
    calls = []
    own = head._maps
    monkeypatch.setattr(head, "_maps", lambda feature: calls.append(1) or own(feature))
    logits, _ = head([torch.randn(1, 4, 20, 20)])
    logits[0][0, 0, 3, 3].backward()
    assert calls == [1]
