from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.modeling.box_regression import Box2BoxTransform, box_regression_loss, weighted

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
coordinate = st.floats(-100, 800, width=32)
side = st.floats(1, 400, width=32)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(st.tuples(box, box), min_size=1, max_size=5))
def test_deltas_lead_to_the_target(pairs: list) -> None:
    source, target = (torch.tensor(boxes, dtype=torch.float32) for boxes in zip(*pairs, strict=True))
    transform = Box2BoxTransform(WEIGHTS, scale_clamp=math.inf)
    deltas = transform.get_deltas(source, target)
    assert torch.allclose(transform.apply_deltas(deltas, source), target, atol=0.05)


def test_deltas_by_hand() -> None:
    transform = Box2BoxTransform(WEIGHTS)
    deltas = transform.get_deltas(torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 10, 25, 20]]))
    expected = [10 * 1.0, 10 * 0.25, 5 * math.log(2), 5 * math.log(0.5)]
    assert torch.allclose(deltas, torch.tensor([expected]))


def test_several_corrections_of_a_box_and_the_clamp() -> None:
    transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    boxes = transform.apply_deltas(torch.tensor([[0.0, 0, 0, 0, 1, 0, 100, 0]]), torch.tensor([[0.0, 0, 16, 16]]))
    half = 1000 / 2
    assert torch.allclose(boxes, torch.tensor([[0.0, 0, 16, 16, 24 - half, 0, 24 + half, 16]]))


@pytest.mark.parametrize("width", [4, 12])
def test_no_boxes(width: int) -> None:
    empty = Box2BoxTransform(WEIGHTS).apply_deltas(torch.zeros(0, width), torch.zeros(0, 4))
    assert empty.shape == (0, width)


@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
class TestLoss:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5.0, 5, 25, 15]])
    target = torch.tensor([[2.0, 0, 10, 12], [5.0, 5, 20, 20]])

    def test_zero_at_the_target(self, loss_type: str) -> None:
        transform = Box2BoxTransform(WEIGHTS)
        deltas = transform.get_deltas(self.boxes, self.target)
        assert box_regression_loss(transform, deltas, self.boxes, self.target, loss_type) < 1e-4

    def test_falls_along_its_gradient(self, loss_type: str) -> None:
        transform = Box2BoxTransform(WEIGHTS)
        deltas = torch.zeros(2, 4, requires_grad=True)
        before = box_regression_loss(transform, deltas, self.boxes, self.target, loss_type)
        (gradient,) = torch.autograd.grad(before, deltas)
        after = box_regression_loss(transform, deltas - 0.01 * gradient, self.boxes, self.target, loss_type)
        assert after < before

    def test_no_boxes_give_zero_with_a_gradient(self, loss_type: str) -> None:
        deltas = torch.zeros(3, 4, requires_grad=True)
        loss = box_regression_loss(
            Box2BoxTransform(WEIGHTS), deltas[:0], torch.zeros(0, 4), torch.zeros(0, 4), loss_type
        )
        loss.backward()
        assert loss == 0
        assert torch.equal(deltas.grad, torch.zeros(3, 4))


@pytest.mark.parametrize(("beta", "expected"), [(0.0, 3.0), (1.0, 2.5), (4.0, 9 / 8)])
def test_smooth_l1_beta(beta: float, expected: float) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.tensor([[3.0, 0, 0, 0]])
    loss = box_regression_loss(Box2BoxTransform(WEIGHTS), deltas, boxes, boxes, "smooth_l1", beta)
    assert loss == pytest.approx(expected)


def test_unknown_loss_is_named() -> None:
    with pytest.raises(ValueError, match="BBOX_REG_LOSS_TYPE is 'l3'"):
        box_regression_loss(Box2BoxTransform(WEIGHTS), torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4), "l3")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_trace_holds_for_other_numbers_of_boxes() -> None:
    transform = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    traced = torch.jit.trace(transform.apply_deltas, (torch.rand(10, 8), torch.rand(10, 4)))
    deltas, boxes = torch.rand(3, 8), torch.rand(3, 4)
    assert torch.equal(traced(deltas, boxes), transform.apply_deltas(deltas, boxes))


@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_boxes_that_do_not_count(loss_type: str, beta: float) -> None:
    torch.manual_seed(0)
    transform, is_counted = Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), torch.tensor([True, False, True])
    deltas = torch.randn(3, 4, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 10, 20], [5, 5, 9, 9], [1, 2, 8, 8]])
    targets = torch.tensor([[1.0, 0, 12, 18], [0, 0, 0, 0], [2, 2, 9, 9]])  # none for the second
    own = (deltas[is_counted], boxes[is_counted], targets[is_counted])
    expected = box_regression_loss(transform, *own, loss_type, beta)
    found = box_regression_loss(transform, deltas, boxes, targets, loss_type, beta, is_counted)
    gradients = [torch.autograd.grad(loss, deltas)[0] for loss in (found, expected)]
    torch.testing.assert_close((found, gradients[0]), (expected, gradients[1]))


def test_a_weight_of_one_changes_nothing() -> None:
    losses = {"loss_a": torch.tensor(2.0), "loss_b": torch.tensor(3.0)}
    assert weighted(losses, {"loss_b": 0.5, "other": 7.0}) == {"loss_a": 2.0, "loss_b": 1.5}
