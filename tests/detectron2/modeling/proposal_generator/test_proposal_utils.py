from __future__ import annotations

import math

import pytest
import torch

from detectron2.modeling.proposal_generator import add_ground_truth_to_proposals, find_top_rpn_proposals
from detectron2.modeling.proposal_generator.proposal_utils import top_indices
from detectron2.structures import Boxes, Instances

SIZE = (100, 200)
A, NEAR_A, B = [10.0, 10, 50, 50], [11.0, 10, 51, 50], [100.0, 10, 140, 50]


def top(proposals: list, logits: list, **changes) -> list[Instances]:
    options = {
        "image_sizes": [SIZE],
        "nms_thresh": 0.7,
        "pre_nms_topk": 10,
        "post_nms_topk": 10,
        "min_box_size": 0.0,
        "training": False,
    }
    boxes = [torch.tensor(level, dtype=torch.float32).view(-1, len(level[0]), 4) for level in proposals]
    return find_top_rpn_proposals(boxes, [torch.tensor(level) for level in logits], **{**options, **changes})


def test_overlaps_are_suppressed_inside_a_level_only() -> None:
    (found,) = top([[[A, NEAR_A, B]], [[NEAR_A]]], [[[1.0, 2.0, 0.5]], [[3.0]]])
    assert found.proposal_boxes.tensor.tolist() == [NEAR_A, NEAR_A, B]
    assert found.objectness_logits.tolist() == [3, 2, 0.5]
    assert found.image_size == SIZE


@pytest.mark.parametrize(
    ("changes", "logits"),
    [
        ({"pre_nms_topk": 1}, [3.0, 2.0]),
        ({"post_nms_topk": 2}, [3.0, 2.0]),
        ({"nms_thresh": 0.99}, [3.0, 2.0, 1.0, 0.5]),
        ({"min_box_size": 40.0}, []),
    ],
    ids=["best of each level", "best of all", "no overlap is too much", "too small"],
)
def test_limits(changes: dict, logits: list[float]) -> None:
    (found,) = top([[[A, NEAR_A, B]], [[NEAR_A]]], [[[1.0, 2.0, 0.5]], [[3.0]]], **changes)
    assert found.objectness_logits.tolist() == logits


@pytest.mark.parametrize("count", [1, 3, 40, 100, 300])
def test_of_equal_logits_the_first_are_taken(count: int) -> None:
    logits = torch.randint(0, 5, (2, 200), generator=torch.Generator().manual_seed(0)).float()
    logits[1, 7] = math.nan
    expected = logits.sort(dim=1, descending=True, stable=True).indices[:, :count]
    assert top_indices(logits, count).tolist() == expected.tolist()
    assert top_indices(torch.full((1, 50), math.nan), count).shape == (1, min(count, 50))


def test_images_are_kept_apart_and_clipped_to_their_own_size() -> None:
    first, second = top([[[A], [[-5.0, 0, 300, 80]]]], [[[1.0], [1.0]]], image_sizes=[SIZE, (60, 90)])
    assert first.proposal_boxes.tensor.tolist() == [A]
    assert second.proposal_boxes.tensor.tolist() == [[0, 0, 90, 60]]


def test_broken_boxes_are_dropped_at_test_and_an_error_in_training() -> None:
    proposals, logits = [[[A, [math.nan, 0, 5, 5], B]]], [[[1.0, 2.0, math.inf]]]
    (found,) = top(proposals, logits)
    assert found.proposal_boxes.tensor.tolist() == [A]
    with pytest.raises(FloatingPointError, match="BASE_LR"):
        top(proposals, logits, training=True)


def proposals() -> Instances:
    return Instances(SIZE, proposal_boxes=Boxes([A]), objectness_logits=torch.zeros(1))


@pytest.mark.parametrize("as_boxes", [True, False])
@pytest.mark.parametrize("truth", [[B, NEAR_A], []], ids=["two", "none"])
def test_ground_truth_is_appended(as_boxes: bool, truth: list) -> None:
    boxes = Boxes(truth)
    given = boxes if as_boxes else Instances(SIZE, gt_boxes=boxes, gt_classes=torch.zeros(len(truth)))
    (extended,) = add_ground_truth_to_proposals([given], [proposals()])
    assert extended.proposal_boxes.tensor.tolist() == [A, *truth]
    assert sorted(extended.get_fields()) == ["objectness_logits", "proposal_boxes"]
    assert (extended.objectness_logits[1:] > 20).all()


def test_ground_truth_must_have_the_other_fields_of_the_proposals() -> None:
    extra = proposals()
    extra.track = torch.zeros(1)
    with pytest.raises(AssertionError, match="track"):
        add_ground_truth_to_proposals([Boxes([B])], [extra])
    truth = Instances(SIZE, gt_boxes=Boxes([B]), track=torch.ones(1))
    assert add_ground_truth_to_proposals([truth], [extra])[0].track.tolist() == [0, 1]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 images"):
        add_ground_truth_to_proposals([Boxes([A]), Boxes([B])], [proposals()])


def test_images_without_a_size_are_left_out() -> None:
    proposals, logits = [[[A], [[math.inf] * 4]]], [[[1.0], [math.inf]]]
    for training in (False, True):
        assert [len(found) for found in top(proposals, logits, training=training)] == [1]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_trace_holds_for_other_numbers_of_candidates() -> None:
    def boxes_of(proposals: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return find_top_rpn_proposals([proposals], [logits], [SIZE], 0.7, 6, 5, 0, False)[0].proposal_boxes.tensor

    def inputs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        corners = torch.rand(1, count, 2) * 50
        return torch.cat((corners, corners + 20), dim=2), torch.rand(1, count)

    traced = torch.jit.trace(boxes_of, inputs(9))
    for count in (4, 20):
        others = inputs(count)
        assert torch.equal(traced(*others), boxes_of(*others))
