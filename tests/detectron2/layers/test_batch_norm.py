"""Norms by name, and the frozen batch norm."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from detectron2.layers import BatchNorm2d, FrozenBatchNorm2d, get_norm
from detectron2.layers.batch_norm import LayerNorm, SyncBatchNorm


def trained_norm(channels: int, kind: type[nn.Module] = BatchNorm2d) -> nn.Module:
    norm = kind(channels, eps=1e-3)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.1, 3)
    return norm


def test_fresh_frozen_norm_is_the_identity() -> None:
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(FrozenBatchNorm2d(4)(x), x)


def test_frozen_norm_has_buffers_only() -> None:
    norm = FrozenBatchNorm2d(4)
    assert list(norm.parameters()) == []
    assert set(norm.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    assert norm.eps == 1e-5


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 9), size=st.integers(1, 6), batch=st.integers(0, 3), seed=st.integers(0, 99))
def test_frozen_norm_equals_batch_norm_in_eval(channels: int, size: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    norm = trained_norm(channels).eval()
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(copy.deepcopy(norm))
    x = torch.randn(batch, channels, size, size)
    torch.testing.assert_close(frozen(x), norm(x))
    with_gradient = x.clone().requires_grad_()
    torch.testing.assert_close(frozen(with_gradient), norm(x), rtol=1e-5, atol=1e-5)


def test_frozen_norm_passes_gradients_through() -> None:
    torch.manual_seed(0)
    norm = trained_norm(4).eval()
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(copy.deepcopy(norm))
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    expected = torch.autograd.grad(norm(x).square().sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(frozen(x).square().sum(), x)[0], expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_frozen_norm_keeps_type_and_layout(memory_format: torch.memory_format) -> None:
    x = torch.randn(2, 4, 5, 3).to(torch.bfloat16).contiguous(memory_format=memory_format).requires_grad_()
    out = FrozenBatchNorm2d(4)(x)
    assert out.dtype is torch.bfloat16
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("kind", [BatchNorm2d, nn.SyncBatchNorm])
def test_convert_replaces_norms_at_any_depth(kind: type[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(trained_norm(4, kind), nn.ReLU()))
    expected = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(copy.deepcopy(network))
    assert isinstance(frozen[1][0], FrozenBatchNorm2d)
    assert frozen[1][0].eps == 1e-3
    torch.testing.assert_close(frozen.state_dict(), expected)


def test_convert_refuses_a_norm_without_statistics() -> None:
    with pytest.raises(ValueError, match="no running statistics"):
        FrozenBatchNorm2d.convert_frozen_batchnorm(BatchNorm2d(4, track_running_stats=False))


def test_version_1_files_hold_scale_and_shift_only() -> None:
    norm = FrozenBatchNorm2d(2)
    norm.load_state_dict({"weight": torch.tensor([2.0, 3.0]), "bias": torch.tensor([1.0, 0.0])})
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_var.tolist() == [1, 1]
    assert norm.weight.tolist() == [2, 3]


def test_a_file_without_the_norm_leaves_it_and_is_logged() -> None:
    norm = FrozenBatchNorm2d(2)
    norm.running_mean.fill_(7)
    result = norm.load_state_dict({}, strict=False)
    assert set(result.missing_keys) == {"weight", "bias", "running_mean", "running_var"}
    assert norm.running_mean.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", BatchNorm2d),
        ("SyncBN", SyncBatchNorm),
        ("nnSyncBN", SyncBatchNorm),
        ("naiveSyncBN", SyncBatchNorm),
        ("naiveSyncBN_N", SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("LN", LayerNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
    ],
    ids=str,
)
def test_get_norm(name: str, kind: type[nn.Module]) -> None:
    norm = get_norm(name, 64)
    assert type(norm) is kind
    assert norm.eval()(torch.randn(2, 64, 3, 5)).shape == (2, 64, 3, 5)


@pytest.fixture(params=[False, True], ids=["no group", "group of one"])
def single_process(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if request.param:
        dist.destroy_process_group()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_sync_batch_norm_alone_is_a_batch_norm(single_process, training: bool) -> None:
    torch.manual_seed(0)
    norm = trained_norm(4).train(training)
    synced = get_norm("SyncBN", 4).train(training)
    synced.eps = norm.eps
    synced.load_state_dict(norm.state_dict())
    x = torch.randn(3, 4, 5, 5)
    outputs = [module(x) for module in (norm, synced)]
    for output in outputs:
        output.square().sum().backward()
    assert isinstance(synced, nn.SyncBatchNorm)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=0)
    torch.testing.assert_close(synced.state_dict(), norm.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(synced.weight.grad, norm.weight.grad, rtol=0, atol=0)


def test_sync_batch_norm_with_others_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda group=None: 2)
    with pytest.raises(ValueError, match="GPU"):
        get_norm("SyncBN", 4)(torch.randn(3, 4, 5, 5))


def test_get_norm_none_and_unknown() -> None:
    assert get_norm("", 8) is None
    assert get_norm(None, 8) is None
    assert get_norm("GN", 64).num_groups == 32
    with pytest.raises(ValueError, match="'bn' is not known"):
        get_norm("bn", 8)


def test_layer_norm_is_over_channels() -> None:
    torch.manual_seed(0)
    norm = LayerNorm(6)
    x = torch.randn(2, 6, 3, 4)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("with_gradient", [False, True], ids=["constant input", "trained input"])
def test_loaded_weights_and_changed_buffers_are_seen(with_gradient: bool) -> None:
    torch.manual_seed(0)
    norm, x = FrozenBatchNorm2d(4), torch.randn(2, 4, 3, 3, requires_grad=with_gradient)
    norm(x)
    for change in (
        lambda: norm.load_state_dict({name: torch.rand(4) + 0.5 for name in norm.state_dict()}),
        lambda: norm.weight.fill_(2),
        lambda: norm.to(torch.float64).to(torch.float32),
        lambda: setattr(norm, "bias", torch.ones(4)),
    ):
        change()
        statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        expected = torch.nn.functional.batch_norm(x, *statistics, training=False, eps=norm.eps)
        torch.testing.assert_close(norm(x), expected)
