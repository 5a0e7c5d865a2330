from __future__ import annotations

import pytest
import torch

from detectron2.modeling import ROIHeads, build_roi_heads, sampling
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.roi_heads import select_foreground_proposals
from detectron2.modeling.roi_heads.roi_heads import required
from detectron2.structures import Boxes, Instances

SIZE = (64, 96)
A, NEAR_A, B = [10.0, 10, 50, 50], [11.0, 10, 51, 50], [60.0, 10, 90, 50]


def proposals(boxes: list) -> Instances:
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


def truth(boxes: list) -> Instances:
    return Instances(
        SIZE,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.arange(len(boxes)),
        gt_names=[f"object {i}" for i in range(len(boxes))],
        note=[""] * len(boxes),
    )


def make_heads(**changes) -> ROIHeads:
    options = {
        "num_classes": 3,
        "batch_size_per_image": 8,
        "positive_fraction": 0.5,
        "proposal_matcher": Matcher([0.5], [0, 1]),
    }
    return ROIHeads(**{**options, **changes})


@pytest.fixture(params=[False, True], ids=["processor", "gpu"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: request.param)


@pytest.mark.usefixtures("form")
class TestSampling:
    def test_labels_and_ground_truth_of_each_proposal(self, storage) -> None:
        (sampled,) = make_heads().label_and_sample_proposals([proposals([B, NEAR_A])], [truth([A])])
        rows = sorted(zip(sampled.proposal_boxes.tensor.tolist(), sampled.gt_classes.tolist(), strict=True))
        assert rows == [(A, 0), (NEAR_A, 0), (B, 3)]
        assert set(sampled.get_fields()) == {
            "proposal_boxes",
            "objectness_logits",
            "gt_classes",
            "gt_boxes",
            "gt_names",
        }
        assert storage.latest()["roi_head/num_fg_samples"][0] == 2
        assert storage.latest()["roi_head/num_bg_samples"][0] == 1

    def test_ground_truth_can_be_left_out(self, storage) -> None:
        heads = make_heads(proposal_append_gt=False)
        (sampled,) = heads.label_and_sample_proposals([proposals([B, NEAR_A])], [truth([A])])
        assert sampled.gt_classes.tolist() == [0, 3]

    def test_ignored_proposals_are_not_sampled(self, storage) -> None:
        heads = make_heads(proposal_append_gt=False, proposal_matcher=Matcher([0.3, 0.99], [0, -1, 1]))
        (sampled,) = heads.label_and_sample_proposals([proposals([B, NEAR_A, A])], [truth([A])])
        assert sampled.gt_classes.tolist() == [0, 3]

    def test_image_without_objects(self, storage) -> None:
        first, second = make_heads().label_and_sample_proposals(
            [proposals([A, B]), proposals([])], [truth([]), truth([])]
        )
        assert first.gt_classes.tolist() == [3, 3]
        assert not first.has("gt_boxes")
        assert len(second) == 0

    @pytest.mark.parametrize(("fraction", "expected"), [(0.25, 2), (1.0, 8)])
    def test_share_of_foreground(self, storage, fraction: float, expected: int) -> None:
        heads = make_heads(positive_fraction=fraction)
        (sampled,) = heads.label_and_sample_proposals([proposals([A] * 20 + [B] * 20)], [truth([A])])
        assert (sampled.gt_classes == 0).sum() == expected
        assert len(sampled) == 8


def test_select_foreground() -> None:
    own = proposals([A, B, NEAR_A])
    own.gt_classes = torch.tensor([3, 0, -1])
    (chosen,), (mask,) = select_foreground_proposals([own], bg_label=3)
    assert chosen.proposal_boxes.tensor.tolist() == [B]
    assert mask.tolist() == [False, True, False]


def test_foreground_that_comes_first_is_a_view() -> None:
    own = proposals([A, NEAR_A, B])
    own.gt_classes = torch.tensor([0, 2, 3])
    (chosen,), _ = select_foreground_proposals([own], bg_label=3)
    assert chosen.proposal_boxes.tensor.tolist() == [A, NEAR_A]
    assert chosen.gt_classes.data_ptr() == own.gt_classes.data_ptr()


def test_a_subclass_predicts() -> None:
    with pytest.raises(NotImplementedError, match="ROIHeads"):
        make_heads()(None, {}, [])


def test_required_ground_truth() -> None:
    own = [truth([A])]
    assert required(own) is own
    with pytest.raises(ValueError, match="instances"):
        required(None)


def test_unknown_heads_are_named_with_the_known_ones(small_cfg) -> None:
    small_cfg.MODEL.ROI_HEADS.NAME = "Heads"
    with pytest.raises(KeyError, match="CascadeROIHeads.*Res5ROIHeads.*StandardROIHeads"):
        build_roi_heads(small_cfg, {})
