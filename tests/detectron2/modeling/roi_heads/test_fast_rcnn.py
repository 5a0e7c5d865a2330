from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from detectron2.layers import ShapeSpec
from detectron2.modeling import FastRCNNOutputLayers, sampling
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import fast_rcnn_inference
from detectron2.structures import Boxes, Instances

SIZE = (100, 200)
A, NEAR_A, B = [10.0, 10, 50, 50], [11.0, 10, 51, 50], [100.0, 10, 140, 50]
TRANSFORM = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))


def infer(boxes: list, scores: list, **changes):
    options = {"score_thresh": 0.05, "nms_thresh": 0.5, "topk_per_image": 10, **changes}
    (result,), (rows,) = fast_rcnn_inference([torch.tensor(boxes)], [torch.tensor(scores)], [SIZE], **options)
    return result, rows


class TestInference:
    boxes = ([A * 2, NEAR_A * 2, B * 2],)
    scores = [[0.6, 0.3, 0.1], [0.7, 0.0, 0.3], [0.0, 0.2, 0.8]]

    def test_every_class_of_a_proposal_counts_and_is_suppressed_alone(self) -> None:
        result, rows = infer(*self.boxes, self.scores)
        assert result.pred_classes.tolist() == [0, 1, 1]
        assert torch.allclose(result.scores, torch.tensor([0.7, 0.3, 0.2]))
        assert result.pred_boxes.tensor.tolist() == [NEAR_A, A, B]
        assert rows.tolist() == [1, 0, 2]

    @pytest.mark.parametrize(
        ("changes", "rows"),
        [
            ({"score_thresh": 0.25}, [1, 0]),
            ({"score_thresh": 0.9}, []),
            ({"topk_per_image": 1}, [1]),
            ({"topk_per_image": -1}, [1, 0, 2]),
            ({"nms_thresh": 0.99}, [1, 0, 0, 2]),
        ],
        ids=["higher threshold", "nothing", "one", "all", "no suppression"],
    )
    def test_limits(self, changes: dict, rows: list[int]) -> None:
        assert infer(*self.boxes, self.scores, **changes)[1].tolist() == rows

    def test_shared_boxes_are_clipped(self) -> None:
        result, rows = infer([[-5.0, 10, 300, 120], A], [[0.1, 0.8, 0.1], [0.9, 0.0, 0.1]], score_thresh=0.5)
        assert result.pred_boxes.tensor.tolist() == [A, [0, 10, 200, 100]]
        assert result.pred_classes.tolist() == [0, 1]
        assert rows.tolist() == [1, 0]

    def test_rows_that_are_not_finite_are_dropped_and_the_others_keep_their_number(self) -> None:
        _, rows = infer([[math.nan] * 4, A, B], [[0.9, 0.1], [math.nan, 0.1], [0.8, 0.2]])
        assert rows.tolist() == [2]

    def test_no_proposals(self) -> None:
        (result,), (rows,) = fast_rcnn_inference([torch.zeros(0, 8)], [torch.zeros(0, 3)], [SIZE], 0.05, 0.5, 10)
        assert len(result) == len(rows) == 0
        assert result.image_size == SIZE


def make_layers(**changes) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(16, box2box_transform=TRANSFORM, num_classes=3, **changes)


def make_proposals(classes: list[int]) -> Instances:
    return Instances(
        SIZE,
        proposal_boxes=Boxes([A] * len(classes)),
        gt_boxes=Boxes([NEAR_A] * len(classes)),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )


@pytest.mark.parametrize(("agnostic", "num_deltas"), [(False, 12), (True, 4)])
def test_outputs_and_initial_weights(agnostic: bool, num_deltas: int) -> None:
    layers = FastRCNNOutputLayers(
        ShapeSpec(channels=64, height=2, width=2),
        box2box_transform=TRANSFORM,
        num_classes=3,
        cls_agnostic_bbox_reg=agnostic,
    )
    scores, deltas = layers(torch.randn(5, 64, 2, 2))
    assert (scores.shape, deltas.shape) == ((5, 4), (5, num_deltas))
    assert layers.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert layers.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.15)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_losses_by_hand(storage, monkeypatch, on_gpu: bool) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: on_gpu)
    layers = make_layers()
    proposals = [make_proposals([1, 3]), make_proposals([0])]
    logits, deltas = torch.randn(3, 4), torch.randn(3, 12)
    losses = layers.losses((logits, deltas), proposals)
    target = TRANSFORM.get_deltas(torch.tensor([A]), torch.tensor([NEAR_A]))
    expected = (deltas[0, 4:8] - target).abs().sum() + (deltas[2, :4] - target).abs().sum()
    assert torch.allclose(losses["loss_cls"], F.cross_entropy(logits, torch.tensor([1, 3, 0])))
    assert torch.allclose(losses["loss_box_reg"], expected / 3)


def test_classification_events(storage) -> None:
    best = torch.tensor([1, 3, 3, 2, 3])
    logits = F.one_hot(best, 4).float()
    make_layers().losses((logits, torch.zeros(5, 12)), [make_proposals([1, 3, 0, 0, 3])])
    values = {name: value for name, (value, _) in storage.latest().items()}
    assert values == {
        "fast_rcnn/cls_accuracy": pytest.approx(3 / 5),
        "fast_rcnn/fg_cls_accuracy": pytest.approx(1 / 3),
        "fast_rcnn/false_negative": pytest.approx(1 / 3),
    }


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("classes", [[], [3, 3], [0, 2, 3]], ids=["no proposals", "no foreground", "mixed"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_losses_are_finite_and_train(storage, monkeypatch, agnostic, loss_type, sigmoid, classes, on_gpu) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: on_gpu)
    layers = make_layers(cls_agnostic_bbox_reg=agnostic, box_reg_loss_type=loss_type, use_sigmoid_ce=sigmoid)
    losses = layers.losses(layers(torch.randn(len(classes), 16)), [make_proposals(classes)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (losses["loss_cls"] > 0) == bool(classes)
    assert (losses["loss_box_reg"] > 0) == (0 in classes)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layers.parameters())


def test_an_image_without_objects_has_no_ground_truth_boxes(storage) -> None:
    empty = make_proposals([3, 3])
    empty.remove("gt_boxes")
    losses = make_layers().losses((torch.zeros(3, 4), torch.zeros(3, 12)), [empty, make_proposals([1])])
    assert losses["loss_box_reg"] > 0


@pytest.mark.parametrize("weight", [3.0, {"loss_box_reg": 3.0}])
def test_loss_weights(storage, weight) -> None:
    predictions, proposals = (torch.randn(2, 4), torch.randn(2, 12)), [make_proposals([1, 3])]
    plain = make_layers().losses(predictions, proposals)
    weighted = make_layers(loss_weight=weight).losses(predictions, proposals)
    assert weighted["loss_box_reg"] / plain["loss_box_reg"] == pytest.approx(3)
    assert weighted["loss_cls"] / plain["loss_cls"] == pytest.approx(1 if isinstance(weight, dict) else 3)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_probabilities_and_boxes_of_each_image(sigmoid: bool) -> None:
    layers = make_layers(use_sigmoid_ce=sigmoid)
    proposals = [make_proposals([0, 3]), make_proposals([]), make_proposals([2])]
    logits, deltas = torch.randn(3, 4), torch.randn(3, 12)
    probs = layers.predict_probs((logits, deltas), proposals)
    boxes = layers.predict_boxes((logits, deltas), proposals)
    assert [len(p) for p in probs] == [len(b) for b in boxes] == [2, 0, 1]
    assert torch.allclose(torch.cat(probs), logits.sigmoid() if sigmoid else logits.softmax(1))
    chosen = layers.predict_boxes_for_gt_classes((logits, deltas), proposals)
    assert torch.equal(chosen[0][0], boxes[0][0, :4])
    assert torch.equal(chosen[2][0], boxes[2][0, 8:])


def test_background_units_do_not_count_with_sigmoids() -> None:
    layers = make_layers(use_sigmoid_ce=True)
    logits = torch.zeros(2, 4)
    loss = layers.sigmoid_cross_entropy_loss(logits, torch.tensor([0, 3]))
    assert loss.item() == pytest.approx(3 * math.log(2))


def test_federated_loss_is_refused(small_cfg) -> None:
    small_cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = True
    with pytest.raises(ValueError, match="USE_FED_LOSS"):
        FastRCNNOutputLayers(small_cfg, ShapeSpec(channels=4))


@pytest.mark.parametrize("count", [0, 2])
def test_losses_without_an_event_storage(count: int) -> None:
    layers = FastRCNNOutputLayers(8, box2box_transform=TRANSFORM, num_classes=3)
    boxes = Boxes(torch.tensor([A, B]))
    truth = {"gt_boxes": boxes, "gt_classes": torch.tensor([1, 3])}
    proposals = [Instances(SIZE, proposal_boxes=boxes, **truth)] if count else []
    features = torch.rand(count, 8, requires_grad=True)
    losses = layers.losses(layers(features), proposals)
    sum(losses.values()).backward()
    assert all(bool(loss > 0) == bool(count) for loss in losses.values())
    assert features.grad is not None
