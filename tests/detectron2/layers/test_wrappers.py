"""Torch's layers and functions as detection needs them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from detectron2.layers import (
    BatchNorm2d,
    Conv2d,
    FrozenBatchNorm2d,
    cat,
    cross_entropy,
    empty_input_loss_func_wrapper,
    get_norm,
    move_device_like,
    nonzero_tuple,
)


def test_conv_applies_norm_then_activation() -> None:
    torch.manual_seed(0)
    conv = Conv2d(3, 4, 3, padding=1, bias=False, norm=get_norm("BN", 4), activation=F.relu).eval()
    conv.norm.running_mean.uniform_(-1, 1)
    x = torch.randn(2, 3, 5, 6)
    expected = F.relu(conv.norm(F.conv2d(x, conv.weight, padding=1)))
    torch.testing.assert_close(conv(x), expected)
    assert set(conv.state_dict()) >= {"weight", "norm.weight", "norm.running_var"}


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize(("kind", "training"), [("FrozenBN", True), ("BN", False), ("SyncBN", False)])
def test_a_norm_that_only_scales_is_taken_into_the_convolution(kind: str, training: bool, with_bias: bool) -> None:
    torch.manual_seed(0)
    conv = Conv2d(4, 6, 3, stride=2, dilation=2, padding=2, groups=2, bias=with_bias, norm=get_norm(kind, 6))
    conv.train(training)
    for tensor in (conv.norm.weight, conv.norm.bias, conv.norm.running_mean, conv.norm.running_var):
        tensor.data.uniform_(0.5, 2)
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    calls: list[int] = []
    conv.norm.register_forward_hook(lambda *_: calls.append(1))
    wanted = conv.norm(torch.nn.Conv2d.forward(conv, x)).square().sum()
    expected = torch.autograd.grad(wanted, [x, *conv.parameters()])
    calls.clear()
    found = conv(x).square().sum()
    assert not calls
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, [x, *conv.parameters()]), expected, rtol=1e-4, atol=1e-4)


class DoublingNorm(FrozenBatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("norm", "options"),
    [
        (BatchNorm2d(4), {}),
        (BatchNorm2d(4, track_running_stats=False).eval(), {}),
        (BatchNorm2d(4, affine=False).eval(), {}),
        (get_norm("GN", 32), {"out_channels": 32}),
        (DoublingNorm(4), {}),
        (FrozenBatchNorm2d(4), {"padding_mode": "circular"}),
        (FrozenBatchNorm2d(4), {"dtype": torch.bfloat16}),
    ],
    ids=["training", "batch-statistics", "no-affine", "group", "subclass", "circular", "16-bit"],
)
def test_any_other_norm_stays_a_layer_of_its_own(norm: torch.nn.Module, options: dict) -> None:
    calls: list[int] = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    options = {"out_channels": 4, **options}
    conv = Conv2d(3, kernel_size=3, padding=1, norm=norm, **options)
    x = torch.randn(2, 3, 5, 6, dtype=options.get("dtype"))
    torch.testing.assert_close(conv(x), norm(torch.nn.Conv2d.forward(conv, x)))
    assert len(calls) == 2


def test_conv_without_norm_has_the_state_of_torchs() -> None:
    assert set(Conv2d(3, 4, 1).state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("norm", "training"), [("", True), ("FrozenBN", True), ("SyncBN", False)], ids=["plain", "frozen", "sync-eval"]
)
def test_conv_takes_an_empty_batch(norm: str, training: bool) -> None:
    conv = Conv2d(3, 4, 3, stride=2, padding=1, norm=get_norm(norm, 4)).train(training)
    assert conv(torch.empty(0, 3, 8, 10)).shape == (0, 4, 4, 5)


def test_conv_calculates_shapes_on_a_device_without_autocast() -> None:
    conv = Conv2d(3, 4, 3, padding=1, norm=get_norm("FrozenBN", 4)).to("meta")
    assert conv(torch.empty(2, 3, 8, 10, device="meta")).shape == (2, 4, 8, 10)


def leave_nan_in_freed_memory() -> None:
    blocks = [torch.full((size,), torch.nan) for size in (64, 512, 4096, 16384, 65536) for _ in range(4)]
    del blocks


@pytest.mark.parametrize("amp", [True, False], ids=["autocast", "bf16 weights"])
@pytest.mark.parametrize("norm", ["", "FrozenBN"], ids=["plain", "folded"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"stride": 2, "padding": 1}),
        (7, {"stride": 2, "padding": 3}),
        (2, {"stride": 3, "padding": "valid"}),
        (3, {"stride": (1, 2), "padding": 1, "groups": 32}),
        (3, {"stride": 2, "padding": 2, "dilation": 2}),
        (3, {"stride": 1, "padding": "same"}),
    ],
    ids=["3x3", "7x7", "valid", "groups", "dilation", "no stride"],
)
@pytest.mark.parametrize("size", [(20, 3), (20, 2), (3, 20), (20, 5)], ids=str)
def test_16_bits_on_a_processor_give_the_right_result_for_thin_images(amp, norm, kernel, options, size) -> None:
    torch.manual_seed(0)
    conv = Conv2d(64, 64, kernel, bias=True, norm=get_norm(norm, 64), **options).to(memory_format=torch.channels_last)
    x = torch.randn(1, 64, *size).to(memory_format=torch.channels_last).requires_grad_()
    inputs = [x, conv.weight, conv.bias]
    expected = conv(x)
    expected_gradients = torch.autograd.grad(expected.square().sum(), inputs)
    half = conv if amp else copy.deepcopy(conv).bfloat16()
    inputs = [x, half.weight, half.bias]
    leave_nan_in_freed_memory()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        found = half(x if amp else x.bfloat16())
    leave_nan_in_freed_memory()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=3e-2, atol=3e-2)
    gradients = torch.autograd.grad(found.float().square().sum(), inputs)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient.float(), wanted, rtol=5e-2, atol=float(wanted.abs().max()) / 50)


def test_sync_norm_refuses_to_train_on_nothing_beside_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = Conv2d(3, 4, 1, norm=get_norm("SyncBN", 4)).train()
    assert conv(torch.empty(0, 3, 8, 10)).shape == (0, 4, 8, 10)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="empty input"):
        conv(torch.empty(0, 3, 8, 10))


def test_cat_does_not_copy_one_tensor() -> None:
    x = torch.ones(2, 3)
    assert cat([x]) is x
    assert cat((x, x), dim=1).shape == (2, 6)
    with pytest.raises(TypeError, match="Tensor"):
        cat(x)


def test_cross_entropy_of_nothing_is_zero_with_a_gradient() -> None:
    logits = torch.empty(0, 5, requires_grad=True)
    loss = cross_entropy(logits, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and logits.grad.shape == (0, 5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_equals_torchs(reduction: str) -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(7, 5), torch.randint(5, (7,))
    weight = torch.rand(5)
    torch.testing.assert_close(
        cross_entropy(logits, target, reduction=reduction, weight=weight),
        F.cross_entropy(logits, target, reduction=reduction, weight=weight),
    )


def test_loss_wrapper_leaves_sums_to_the_loss() -> None:
    wrapped = empty_input_loss_func_wrapper(F.mse_loss)
    assert wrapped(torch.empty(0), torch.empty(0), reduction="none").shape == (0,)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.tensor([0, 3, 0, 4]), [[1, 3]]),
        (torch.tensor([[0, 1], [1, 0]]), [[0, 1], [1, 0]]),
        (torch.tensor(5), [[0]]),
        (torch.tensor(0), [[]]),
    ],
    ids=["1-D", "2-D", "scalar", "zero scalar"],
)
def test_nonzero_tuple(x: torch.Tensor, expected: list[list[int]]) -> None:
    assert [index.tolist() for index in nonzero_tuple(x)] == expected


def test_move_device_like() -> None:
    assert move_device_like(torch.ones(2), torch.empty(3, device="meta")).device.type == "meta"


def test_weights_that_are_set_through_data_are_seen_at_once() -> None:
    """As of a mean teacher; nothing else tells of such a change."""
    conv = Conv2d(4, 6, 3, norm=get_norm("FrozenBN", 6)).eval().requires_grad_(False)
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    conv(x), conv.norm(x.new_ones(1, 6, 2, 2, requires_grad=True))
    for name, value in (*conv.named_parameters(), *conv.named_buffers()):
        value.data.add_(0.1 * (len(name) % 3 + 1))
    torch.testing.assert_close(conv(x), conv.norm(torch.nn.Conv2d.forward(conv, x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trained", [(), ("weight",), ("norm.weight",), ("bias",)], ids=str)
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "bf16"])
def test_a_folded_norm_follows_changes_and_gives_gradients(trained: tuple[str], with_bias: bool, amp: bool) -> None:
    torch.manual_seed(0)
    kind = "BN" if "norm.weight" in trained else "FrozenBN"
    conv = Conv2d(4, 6, 3, bias=with_bias, norm=get_norm(kind, 6)).eval()
    parameters = dict(conv.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            found, wanted = conv(x).float(), conv.norm(torch.nn.Conv2d.forward(conv, x)).float()
        close = {"rtol": 3e-2, "atol": 6e-2} if amp else {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(found, wanted, **close)
        inputs = [x, *(parameters[name] for name in trained if name in parameters)]
        expected = torch.autograd.grad(wanted.sum(), inputs)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), inputs), expected, rtol=5e-2, atol=0.7)
        with torch.no_grad():
            conv.weight.mul_(0.5)
            conv.norm.bias.add_(1)
