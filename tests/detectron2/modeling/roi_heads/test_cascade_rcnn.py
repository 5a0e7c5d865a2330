from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import CascadeROIHeads, build_roi_heads
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes, Instances

SIZE = (96, 128)
SHAPES = {f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in range(2, 6)}
WEIGHTS = [(10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)]
A, B = [10.0, 10, 50, 50], [80.0, 10, 110, 50]


def overlapping(iou: float) -> list[float]:
    """A shortened at the right until it has this IoU with A."""
    return [10.0, 10, 10 + 40 * iou, 50]


@pytest.fixture
def cascade_cfg(small_cfg: CfgNode) -> CfgNode:
    small_cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    small_cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    return small_cfg


@pytest.fixture
def heads(cascade_cfg: CfgNode) -> CascadeROIHeads:
    return build_roi_heads(cascade_cfg, SHAPES)


def proposals(boxes: list) -> Instances:
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


def features(num_images: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    sizes = {name: (96 // shape.stride, 128 // shape.stride) for name, shape in SHAPES.items()}
    return {name: torch.randn(num_images, 16, *size).requires_grad_() for name, size in sizes.items()}


def predict_always(heads: CascadeROIHeads, stage: int, deltas: list[float], logits: list[float]) -> None:
    for layer, values in (
        (heads.box_predictor[stage].bbox_pred, deltas),
        (heads.box_predictor[stage].cls_score, logits),
    ):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor(values)


def record_stages(heads: CascadeROIHeads) -> list[list[Instances]]:
    """The proposals that each stage's losses will be asked for."""
    seen = []
    for predictor in heads.box_predictor:
        losses = predictor.losses
        predictor.losses = lambda predictions, own, losses=losses: seen.append(own) or losses(predictions, own)
    return seen


def test_arguments() -> None:
    names = list(inspect.signature(CascadeROIHeads.__init__).parameters)
    stages = ["box_heads", "box_predictors", "proposal_matchers"]
    assert names == ["self", "box_in_features", "box_pooler", *stages, "kwargs"]


def test_published_thresholds_and_box_weights_of_each_stage(heads) -> None:
    assert [matcher.thresholds[1:-1] for matcher in heads.proposal_matchers] == [[0.5], [0.6], [0.7]]
    assert all(matcher.labels == [0, 1] for matcher in heads.proposal_matchers)
    assert not any(matcher.allow_low_quality_matches for matcher in heads.proposal_matchers)
    assert [predictor.box2box_transform.weights for predictor in heads.box_predictor] == WEIGHTS
    assert heads.proposal_matcher is heads.proposal_matchers[0]
    assert heads.num_cascade_stages == 3


def test_state_dict_names(heads) -> None:
    box = {f"box_head.{stage}.{fc}" for stage in range(3) for fc in ("fc1", "fc2")}
    predictors = {f"box_predictor.{stage}.{part}" for stage in range(3) for part in ("cls_score", "bbox_pred")}
    mask = {"mask_head.mask_fcn1", "mask_head.deconv", "mask_head.predictor"}
    assert {name.rsplit(".", 1)[0] for name in heads.state_dict()} == box | predictors | mask
    assert all(predictor.bbox_pred.out_features == 4 for predictor in heads.box_predictor)


def test_names_of_losses_and_events(heads, storage, make_input) -> None:
    _, losses = heads(None, features(), [proposals([B])], [make_input([A])["instances"]])
    stages = [f"{name}_stage{k}" for k in range(3) for name in ("loss_cls", "loss_box_reg")]
    assert list(losses) == [*stages, "loss_mask"]
    events = set(storage.latest())
    assert {f"stage{k}/fast_rcnn/cls_accuracy" for k in range(3)} <= events
    assert {f"stage{k}/roi_head/num_{kind}_samples" for k in (1, 2) for kind in ("fg", "bg")} <= events
    assert {"roi_head/num_fg_samples", "roi_head/num_bg_samples", "mask_rcnn/accuracy"} <= events
    assert not any(name.startswith("stage0/roi_head") for name in events)


def test_each_stage_matches_all_boxes_anew_with_its_own_threshold(heads, storage, make_input) -> None:
    heads.proposal_append_gt = False
    for stage in range(3):
        predict_always(heads, stage, [0.0] * 4, [0.0] * 4)
    seen = record_stages(heads)
    given = [proposals([overlapping(iou) for iou in (0.45, 0.55, 0.65, 0.75)]), proposals([B])]
    heads(None, features(2), given, [make_input([A])["instances"], make_input([])["instances"]])
    objects = [sorted((own.gt_classes == 0).tolist()) for own, _ in seen]
    assert [sum(stage) for stage in objects] == [3, 2, 1]
    assert all(own.gt_classes.tolist() == [3] for _, own in seen)
    assert all(torch.equal(own.gt_boxes.tensor, torch.tensor([A] * 4)) for own, _ in seen)
    events = {name: value for name, (value, _) in storage.latest().items()}
    assert events["stage1/roi_head/num_fg_samples"] == 2 / 2
    assert events["stage2/roi_head/num_bg_samples"] == (5 - 1) / 2


def test_thresholds_are_closed_below(heads, storage) -> None:
    truth = Instances(SIZE, gt_boxes=Boxes([[0.0, 0, 80, 80]]), gt_classes=torch.tensor([1]))
    half = Instances(SIZE, proposal_boxes=Boxes([[0.0, 0, 40, 80], [0.0, 0, 39, 80]]))
    (labelled,) = heads._match_and_label_boxes([half], 0, [truth])
    assert labelled.gt_classes.tolist() == [1, 3]


def test_only_the_first_stage_is_sampled(heads, storage, make_input) -> None:
    heads.batch_size_per_image = 4
    seen = record_stages(heads)
    sampled, _ = heads(None, features(), [proposals([A] * 5 + [B] * 5)], [make_input([A])["instances"]])
    assert [len(own) for (own,) in seen] == [4, 4, 4]
    assert seen[0][0] is sampled[0]


def test_boxes_between_stages_are_clipped_and_in_training_not_empty(heads) -> None:
    boxes = torch.tensor([[-5.0, 10, 300, 50], [20, 20, 20, 60], [200, 0, 300, 50]], requires_grad=True)
    (trained,) = heads._create_proposals_from_boxes([boxes], [SIZE])
    (tested,) = heads.eval()._create_proposals_from_boxes([boxes], [SIZE])
    assert trained.proposal_boxes.tensor.tolist() == [[0, 10, 128, 50]]
    assert tested.proposal_boxes.tensor.tolist() == [[0, 10, 128, 50], [20, 20, 20, 60], [128, 0, 128, 50]]
    assert not trained.proposal_boxes.tensor.requires_grad
    assert boxes.tolist()[0] == [-5, 10, 300, 50]


@pytest.mark.parametrize("stage", [1, 2])
def test_no_gradient_flows_through_the_boxes(heads, storage, make_input, stage: int) -> None:
    _, losses = heads(None, features(), [proposals([overlapping(0.9)])], [make_input([A])["instances"]])
    (losses[f"loss_cls_stage{stage}"] + losses[f"loss_box_reg_stage{stage}"]).backward()
    for other in range(3):
        parameters = [*heads.box_head[other].parameters(), *heads.box_predictor[other].parameters()]
        assert all((p.grad is not None) == (other == stage) for p in parameters)


def test_a_stage_passes_its_share_of_the_gradient_to_the_features(
    heads, storage, make_input, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients() -> tuple[torch.Tensor, torch.Tensor]:
        x = features()
        torch.manual_seed(2)
        _, losses = heads(None, x, [proposals([overlapping(0.9), B])], [make_input([A])["instances"]])
        loss = sum(value for name, value in losses.items() if "stage" in name)
        return torch.autograd.grad(loss, [x["p2"], heads.box_head[1].fc1.weight])

    of_features, of_weights = gradients()
    monkeypatch.setattr(CascadeROIHeads, "_mean_over_stages", lambda self, gradient: gradient)
    unscaled_of_features, unscaled_of_weights = gradients()
    assert unscaled_of_features.abs().sum() > 0
    torch.testing.assert_close(of_features, unscaled_of_features / 3)
    torch.testing.assert_close(of_weights, unscaled_of_weights)


def test_the_mask_head_is_trained_on_the_sampled_proposals_at_full_gradient(heads, storage, make_input) -> None:
    seen = []
    heads.mask_head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[1]))
    for stage in range(3):
        predict_always(heads, stage, [3.0] * 4, [0.0] * 4)
    near = overlapping(0.9)
    sampled, _ = heads(None, features(), [proposals([near, B])], [make_input([A])["instances"]])
    assert sorted(seen[0].proposal_boxes.tensor.tolist()) == sorted([A, near])
    assert sorted(sampled[0].proposal_boxes.tensor.tolist()) == sorted([A, near, B])


def test_detections_average_probabilities_and_take_the_last_boxes(heads) -> None:
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 3.0]])
    deltas = torch.tensor([1.0, -0.5, 0.4, 0.2])
    for stage in range(3):
        predict_always(heads, stage, deltas.tolist(), logits[stage].tolist())
    for predictor in heads.box_predictor[:2]:
        predictor.test_score_thresh = 0.99  # only the last stage's limits count
    found, losses = heads.eval()(None, features(2), [proposals([A]), proposals([])])
    boxes = torch.tensor([A])
    for weights in WEIGHTS:
        boxes = Box2BoxTransform(weights).apply_deltas(deltas[None], boxes)
    probs = logits.softmax(dim=1).mean(dim=0)[:3]
    order = probs.argsort(descending=True)
    assert losses == {}
    assert torch.allclose(found[0].scores, probs[order])
    assert found[0].pred_classes.tolist() == order.tolist()
    assert torch.allclose(found[0].pred_boxes.tensor, boxes.expand(3, 4), atol=1e-4)
    assert [own.pred_masks.shape for own in found] == [(3, 1, 28, 28), (0, 1, 28, 28)]


def test_a_box_that_becomes_empty_keeps_its_row_at_test(heads) -> None:
    predict_always(heads, 0, [0.0] * 4, [0.0] * 4)
    found, _ = heads.eval()(None, features(), [proposals([[130.0, 0, 140, 10], A])])
    assert len(found[0]) > 0
    assert torch.isfinite(found[0].pred_boxes.tensor).all()


@pytest.mark.parametrize("boxes", [[A], []], ids=["object", "no object"])
@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou"])
def test_losses_are_finite_and_train(cascade_cfg, storage, make_input, boxes: list, loss_type: str) -> None:
    cascade_cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE = loss_type
    heads = build_roi_heads(cascade_cfg, SHAPES)
    _, losses = heads(None, features(), [proposals([overlapping(0.9), B])], [make_input(boxes)["instances"]])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all((losses[f"loss_box_reg_stage{k}"] > 0) == bool(boxes) for k in range(3))
    assert all(p.grad is not None for p in heads.parameters())


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_any_number_of_stages(cascade_cfg, storage, make_input, stages: int) -> None:
    cascade_cfg.MODEL.MASK_ON = False
    cascade_cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.5, 0.6, 0.7, 0.8)[:stages]
    cascade_cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = ((1.0, 1.0, 1.0, 1.0),) * stages
    heads = build_roi_heads(cascade_cfg, SHAPES)
    _, losses = heads(None, features(), [proposals([A])], [make_input([A])["instances"]])
    assert len(losses) == 2 * stages
    assert "pred_masks" not in heads.eval()(None, features(), [proposals([A])])[0][0].get_fields()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False, "CLS_AGNOSTIC_BBOX_REG"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6), "3 BBOX_REG_WEIGHTS for 2 IOUS"),
        ("ROI_BOX_CASCADE_HEAD.IOUS", (0.4, 0.6, 0.7), "IOU_THRESHOLDS"),
        ("KEYPOINT_ON", True, "KEYPOINT_ON"),
    ],
)
def test_wrong_options_are_named(cascade_cfg, key: str, value, message: str) -> None:
    cascade_cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_roi_heads(cascade_cfg, SHAPES)


def test_arguments_that_do_not_fit_are_named(cascade_cfg) -> None:
    arguments = CascadeROIHeads.from_config(cascade_cfg, SHAPES)
    with pytest.raises(ValueError, match="3, 3, 2"):
        CascadeROIHeads(**{**arguments, "proposal_matchers": arguments["proposal_matchers"][:2]})
    with pytest.raises(ValueError, match="one a stage"):
        CascadeROIHeads(**arguments, proposal_matcher=Matcher([0.5], [0, 1]))


def test_training_needs_ground_truth(heads) -> None:
    with pytest.raises(ValueError, match="instances"):
        heads(None, features(), [proposals([A])])
