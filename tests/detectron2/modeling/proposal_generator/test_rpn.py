from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import RPN, StandardRPNHead, build_proposal_generator, sampling
from detectron2.modeling.proposal_generator import find_top_rpn_proposals
from detectron2.structures import Boxes, ImageList, Instances

HEIGHT, WIDTH = 64, 96
SHAPES = {f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in range(2, 7)}


@pytest.fixture
def rpn(small_cfg) -> RPN:
    return build_proposal_generator(small_cfg, SHAPES)


def batch(num_images: int = 2) -> tuple[ImageList, dict[str, torch.Tensor]]:
    images = ImageList(torch.zeros(num_images, 3, HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * num_images)
    features = {
        name: torch.randn(num_images, 16, -(-HEIGHT // s.stride), -(-WIDTH // s.stride)) for name, s in SHAPES.items()
    }
    return images, features


def truth(boxes: list) -> Instances:
    return Instances((HEIGHT, WIDTH), gt_boxes=Boxes(boxes))


class TestHead:
    def test_names_and_initial_weights(self) -> None:
        head = StandardRPNHead(in_channels=64, num_anchors=3)
        assert sorted(head.state_dict()) == sorted(
            f"{layer}.{kind}" for layer in ("conv", "objectness_logits", "anchor_deltas") for kind in ("weight", "bias")
        )
        for layer in (head.conv, head.objectness_logits, head.anchor_deltas):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)
            assert not layer.bias.any()

    @pytest.mark.parametrize(("conv_dims", "channels"), [([-1, 8], [16, 8]), ([8, 8, -1], [8, 8, 8])])
    def test_several_convolutions(self, conv_dims: list[int], channels: list[int]) -> None:
        head = StandardRPNHead(in_channels=16, num_anchors=3, conv_dims=conv_dims)
        assert [conv.out_channels for conv in head.conv] == channels
        assert "conv.conv0.weight" in head.state_dict()
        logits, deltas = head([torch.zeros(2, 16, 4, 5)])
        assert (logits[0].shape, deltas[0].shape) == ((2, 3, 4, 5), (2, 12, 4, 5))

    def test_convolutions_end_with_relu(self) -> None:
        head = StandardRPNHead(in_channels=4, num_anchors=1)
        assert (head.conv(torch.randn(1, 4, 5, 5)) >= 0).all()

    @pytest.mark.parametrize("conv_dims", [[], [0], [-2]])
    def test_wrong_conv_dims(self, conv_dims: list[int]) -> None:
        with pytest.raises(ValueError, match="CONV_DIMS"):
            StandardRPNHead(in_channels=4, num_anchors=1, conv_dims=conv_dims)

    def test_levels_must_agree(self, small_cfg) -> None:
        shapes = {**SHAPES, "p6": ShapeSpec(channels=8, stride=64)}
        with pytest.raises(ValueError, match="channels"):
            build_proposal_generator(small_cfg, shapes)


def test_proposals_are_those_of_decoding_every_anchor(rpn: RPN) -> None:
    rpn.eval()
    nn.init.normal_(rpn.rpn_head.anchor_deltas.weight, std=0.1)
    images, features = batch()
    proposals, losses = rpn(images, features)
    assert losses == {}
    maps = list(features.values())
    logits, deltas = rpn.rpn_head(maps)
    boxes = [
        rpn.box2box_transform.apply_deltas(d.permute(0, 2, 3, 1).reshape(-1, 4), a.tensor.repeat(2, 1)).view(2, -1, 4)
        for a, d in zip(rpn.anchor_generator(maps), deltas, strict=True)
    ]
    scores = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
    expected = find_top_rpn_proposals(boxes, scores, images.image_sizes, 0.7, 200, 50, 0.0, False)
    for own, other in zip(proposals, expected, strict=True):
        assert torch.allclose(own.proposal_boxes.tensor, other.proposal_boxes.tensor)
        assert torch.equal(own.objectness_logits, other.objectness_logits)


def test_losses_and_events(rpn: RPN, storage) -> None:
    images, features = batch()
    proposals, losses = rpn(images, features, [truth([[10.0, 10, 40, 40]]), truth([])])
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}
    assert losses["loss_rpn_cls"].item() == pytest.approx(0.6931, abs=0.02)
    assert losses["loss_rpn_loc"] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in rpn.parameters())
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    events = storage.latest()
    assert events["rpn/num_pos_anchors"][0] >= 0.5
    assert events["rpn/num_pos_anchors"][0] + events["rpn/num_neg_anchors"][0] == pytest.approx(256)


def test_without_objects_the_box_loss_is_zero(rpn: RPN, storage) -> None:
    images, features = batch(1)
    _, losses = rpn(images, features, [truth([])])
    sum(losses.values()).backward()
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_cls"] > 0


def test_best_anchor_is_labelled_even_where_none_fits(rpn: RPN) -> None:
    _, features = batch(1)
    anchors = rpn.anchor_generator(list(features.values()))
    labels, matched = rpn.label_and_sample_anchors(anchors, [truth([[30.0, 30, 34, 34]])])
    assert (labels[0] == 1).any()
    assert (labels[0] >= 0).sum() == 256
    assert (matched[0] == torch.tensor([30.0, 30, 34, 34])).all()


def test_anchors_outside_the_image_can_be_left_out(rpn: RPN) -> None:
    _, features = batch(1)
    anchors = rpn.anchor_generator(list(features.values()))
    rpn.batch_size_per_image = 10**6
    rpn.anchor_boundary_thresh = 0
    labels, _ = rpn.label_and_sample_anchors(anchors, [truth([[10.0, 10, 40, 40]])])
    inside = Boxes.cat(anchors).inside_box((HEIGHT, WIDTH), 0)
    assert (labels[0][~inside] == -1).all()
    assert (labels[0][inside] >= 0).any()


@pytest.mark.parametrize("weight", [2.0, {"loss_rpn_cls": 2.0, "loss_rpn_loc": 3.0}])
def test_loss_weights(rpn: RPN, small_cfg, storage, weight) -> None:
    images, features = batch(1)
    rpn.batch_size_per_image = 10**6
    other = RPN(small_cfg, SHAPES, loss_weight=weight)
    other.load_state_dict(rpn.state_dict())
    other.batch_size_per_image = 10**6
    _, plain = rpn(images, features, [truth([[10.0, 10, 40, 40]])])
    _, weighted = other(images, features, [truth([[10.0, 10, 40, 40]])])
    for name, loss in weighted.items():
        expected = weight[name] if isinstance(weight, dict) else weight
        assert (loss / plain[name]).item() == pytest.approx(expected, rel=1e-4)


def test_training_needs_ground_truth(rpn: RPN) -> None:
    with pytest.raises(ValueError, match="instances"):
        rpn(*batch())


def test_precomputed_proposals_need_no_generator(small_cfg) -> None:
    small_cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(small_cfg, SHAPES) is None


def test_losses_of_a_gpu_are_those_of_the_processor(rpn: RPN, storage, monkeypatch) -> None:
    """There all anchors take part, those that are not sampled with weight 0."""
    images, features = batch()
    maps = list(features.values())
    anchors, (logits, deltas) = rpn.anchor_generator(maps), rpn.rpn_head(maps)
    scores = [one.permute(0, 2, 3, 1).flatten(1) for one in logits]
    corrections = [one.permute(0, 2, 3, 1).reshape(2, -1, 4) for one in deltas]
    labels, matched = rpn.label_and_sample_anchors(anchors, [truth([[10.0, 10, 40, 40]]), truth([])])
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr(sampling, "counting_waits", lambda _, on_gpu=on_gpu: on_gpu)
        losses = rpn.losses(anchors, scores, labels, corrections, matched)
        gradients = torch.autograd.grad(sum(losses.values()), list(rpn.parameters()), retain_graph=True)
        found.append((losses, gradients))
    torch.testing.assert_close(found[1], found[0])


def test_labels_of_a_gpu_are_a_sample_too(rpn: RPN, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: True)
    test_best_anchor_is_labelled_even_where_none_fits(rpn)
    test_anchors_outside_the_image_can_be_left_out(rpn)


def test_anchors_are_those_of_the_maps(rpn: RPN) -> None:
    for size in (64, 64, 128, 64):
        maps = [torch.zeros(1, 16, size // 2**level, size // 2**level) for level in range(len(SHAPES))]
        kept, made = rpn._anchors_of(maps), rpn.anchor_generator(maps)
        torch.testing.assert_close([own.tensor for own in kept], [own.tensor for own in made], rtol=0, atol=0)
