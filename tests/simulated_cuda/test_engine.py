"""Parts of the engine by themselves, where a GPU has code of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.layers import Conv2d, get_norm


def layer_of_a_teacher(with_bias):
    torch.manual_seed(0)
    conv = Conv2d(4, 6, 3, bias=with_bias, norm=get_norm("FrozenBN", 6)).requires_grad_(False)
    for tensor in (*conv.parameters(), *conv.buffers()):
        tensor.data.uniform_(0.5, 2)
    return conv.to("cuda")


@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize(
    ("training", "gradients"), [(False, False), (False, True), (True, False)], ids=["eval", "gradients", "train"]
)
def test_weights_that_are_set_through_data_are_seen_at_once(cuda, training, gradients, with_bias):
    """By a line as `p.data.mul_(a).add_(q.data, alpha=b)` of a mean teacher; nothing else tells of the change."""
    conv = layer_of_a_teacher(with_bias).train(training)
    x = torch.randn(2, 4, 9, 8).to("cuda").requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        for _ in range(2):
            found, plain = conv(x), conv.norm(nn.Conv2d.forward(conv, x))
            norm = nn.BatchNorm2d(6).eval().to("cuda")
            norm.load_state_dict(conv.norm.state_dict(), strict=False)
            wanted = norm(nn.Conv2d.forward(conv, x))
            assert torch.allclose(found.cpu(), wanted.cpu(), rtol=1e-4, atol=1e-4)
            assert torch.allclose(plain.cpu(), wanted.cpu(), rtol=1e-4, atol=1e-4)
            for tensor in (*conv.parameters(), *conv.buffers()):
                tensor.data.mul_(0.5)


def test_what_a_step_without_gradients_has_seen_the_next_training_step_sees(cuda):
    conv, x = layer_of_a_teacher(False).train(), torch.randn(2, 4, 9, 8).to("cuda").requires_grad_()
    before = conv(x).detach()
    conv.weight.data.mul_(0.5)
    with torch.no_grad():
        wanted = conv(x)
    assert not torch.allclose(before.cpu(), wanted.cpu())
    assert torch.allclose(conv(x).detach().cpu(), wanted.cpu())


def test_a_training_step_folds_frozen_layers_once(cuda):
    conv, x = layer_of_a_teacher(False).train(), torch.randn(2, 4, 9, 8).to("cuda").requires_grad_()
    counts = []
    for _ in range(2):
        cuda.reset()
        conv(x)
        counts.append(cuda.operations)
    assert counts[1] < counts[0] - 5
