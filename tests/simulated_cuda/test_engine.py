"""Parts of the engine by themselves, where a GPU has code of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.layers import Conv2d, get_norm
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks


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


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_a_constant_on_the_processor_counts_among_the_losses(cuda, kind):
    model = nn.Linear(2, 2).to("cuda")
    layer = model.forward
    model.forward = lambda x: {"loss_none": torch.tensor(0.5), "loss": layer(x).square().mean()}
    trainer = kind(model, [torch.ones(8, 2).to("cuda")], torch.optim.SGD(model.parameters(), lr=0.01))
    trainer.train(0, 2)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert latest["loss_none"] == 0.5
    assert latest["total_loss"] == pytest.approx(latest["loss"] + 0.5)


def detections():
    """Three, the masks on the processor: where they are pasted once a GPU is full."""
    found = Instances((4, 4), scores=torch.tensor([0.2, 0.9, 0.4]).to("cuda"))
    found.pred_boxes = Boxes(torch.arange(12.0).view(3, 4).to("cuda"))
    found.pred_masks, found.bits = torch.arange(3)[:, None, None].expand(3, 4, 4), BitMasks(torch.ones(3, 4, 4))
    found.gt_masks, found.names = PolygonMasks([[np.arange(6.0) + i] for i in range(3)]), ["a", "b", "c"]
    return found


@pytest.mark.parametrize(
    ("selected", "rows"),
    [
        (lambda found: found.scores > 0.3, [1, 2]),
        (lambda found: found.scores.argsort(descending=True)[:2], [1, 2]),
        (lambda found: torch.tensor([2, 0]), [2, 0]),
        (lambda found: slice(1, None), [1, 2]),
        (lambda found: 2, [2]),
    ],
    ids=["booleans", "indices", "indices on the processor", "slice", "number"],
)
def test_fields_on_both_devices_are_selected_together(cuda, selected, rows):
    found = detections()
    some = found[selected(found)]
    assert some.scores.tolist() == found.scores.cpu()[rows].tolist()
    assert some.pred_boxes.tensor.cpu()[:, 0].tolist() == [4.0 * row for row in rows]
    assert some.pred_masks[:, 0, 0].tolist() == rows
    assert len(some.bits) == len(some.gt_masks) == len(rows)
    assert some.names == ["abc"[row] for row in rows]
    assert (some.scores.is_cuda, some.pred_masks.is_cuda) == (True, False)


def test_fields_on_the_gpu_alone_are_selected_without_a_wait(cuda):
    found = detections()
    for name in ("pred_masks", "bits", "gt_masks", "names"):
        found.remove(name)
    rows = found.scores.argsort()
    cuda.reset()
    assert len(found[rows]) == 3
    assert cuda.synchronisations == 0
