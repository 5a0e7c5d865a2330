"""Boxes and their pairwise measures, against torchvision and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2.structures import (
    Boxes,
    BoxMode,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from detectron2.structures.boxes import last_corners

coordinates = st.floats(-50, 50, width=32, allow_subnormal=False)


@st.composite
def boxes(draw, min_size: int = 0, max_size: int = 6) -> Boxes:
    rows = draw(st.lists(st.tuples(*[coordinates] * 4), min_size=min_size, max_size=max_size))
    corners = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return Boxes(torch.cat((torch.min(corners[:, :2], corners[:, 2:]), torch.max(corners[:, :2], corners[:, 2:])), 1))


@settings(max_examples=60, deadline=None)
@given(a=boxes(), b=boxes())
def test_iou_equals_torchvisions(a: Boxes, b: Boxes) -> None:
    expected = torchvision.ops.box_iou(a.tensor, b.tensor).nan_to_num(0)
    torch.testing.assert_close(pairwise_iou(a, b), expected)
    torch.testing.assert_close(a.area(), torchvision.ops.box_area(a.tensor))


@settings(max_examples=40, deadline=None)
@given(a=boxes(), b=boxes())
def test_pairwise_measures_agree(a: Boxes, b: Boxes) -> None:
    shared = pairwise_intersection(a, b)
    assert shared.shape == (len(a), len(b))
    torch.testing.assert_close(shared, pairwise_intersection(b, a).T)
    torch.testing.assert_close((pairwise_ioa(a, b) * b.area()), shared, rtol=1e-4, atol=1e-3)
    count = min(len(a), len(b))
    torch.testing.assert_close(
        matched_pairwise_iou(a[:count], b[:count]), pairwise_iou(a[:count], b[:count]).diagonal()
    )


def test_matched_iou_needs_equal_numbers() -> None:
    with pytest.raises(ValueError, match="1 and 2"):
        matched_pairwise_iou(Boxes([[0, 0, 1, 1]]), Boxes([[0, 0, 1, 1], [0, 0, 1, 1]]))


def test_point_box_distance() -> None:
    points = torch.tensor([[3.0, 4.0], [20.0, 4.0]])
    distance = pairwise_point_box_distance(points, Boxes([[1, 1, 10, 10], [0, 5, 4, 6], [3, 4, 5, 6]]))
    assert distance.shape == (2, 3, 4)
    assert distance[0, 0].tolist() == [2, 3, 7, 6]
    assert distance[1, 1].tolist() == [20, -1, -16, 2]
    assert (distance > 0).all(dim=2).tolist() == [[True, False, False], [False, False, False]]


@settings(max_examples=40, deadline=None)
@given(a=boxes(), height=st.integers(1, 60), width=st.integers(1, 60))
def test_clip_equals_torchvisions(a: Boxes, height: int, width: int) -> None:
    original, before = a.tensor, a.tensor.clone()
    a.clip((height, width))
    torch.testing.assert_close(a.tensor, torchvision.ops.clip_boxes_to_image(before, (height, width)))
    assert original.equal(before)


def test_boxes_of_several_images_are_clipped_at_once_as_by_themselves() -> None:
    boxes, sizes = torch.randn(3, 50, 4) * 40, [(30, 50), (50, 30), (20, 20)]
    clipped = boxes.clamp(min=0).minimum(last_corners(sizes, boxes)[:, None])
    for own, at_once, size in zip(boxes, clipped, sizes, strict=True):
        alone = Boxes(own)
        alone.clip(size)
        assert torch.equal(at_once, alone.tensor)


def test_clip_tells_of_nan() -> None:
    with pytest.raises(ValueError, match="infinite or NaN"):
        Boxes([[0, 0, float("nan"), 1]]).clip((10, 10))


def test_nonempty_and_inside() -> None:
    few = Boxes([[0, 0, 5, 5], [3, 3, 3, 9], [-2, 0, 5, 12]])
    assert few.nonempty().tolist() == [True, False, True]
    assert few.nonempty(threshold=6).tolist() == [False, False, True]
    assert few.inside_box((10, 10)).tolist() == [True, True, False]
    assert few.inside_box((10, 10), boundary_threshold=3).tolist() == [True, True, True]


def test_centres_and_scale() -> None:
    few = Boxes([[0, 0, 4, 8]])
    assert few.get_centers().tolist() == [[2, 4]]
    few.scale(2, 0.5)
    assert few.tensor.tolist() == [[0, 0, 8, 4]]


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(0, 2), [0, 1]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        ([1, 1], [1, 1]),
        (torch.tensor([], dtype=torch.long), []),
    ],
    ids=["int", "negative", "slice", "indices", "bools", "list", "nothing"],
)
def test_indexing(item, rows: list[int]) -> None:
    corners = torch.arange(12.0).reshape(3, 4)
    selected = Boxes(corners)[item]
    assert isinstance(selected, Boxes)
    assert selected.tensor.equal(corners[rows])


@pytest.mark.parametrize("empty", [[], torch.empty(0), torch.empty(0, 4), np.empty((0, 4))], ids=type)
def test_no_boxes(empty) -> None:
    none = Boxes(empty)
    assert none.tensor.shape == (0, 4)
    assert len(none) == 0 and list(none) == []
    assert pairwise_iou(none, Boxes([[0, 0, 1, 1]])).shape == (0, 1)


@pytest.mark.parametrize("wrong", [[[1, 2, 3]], [1, 2, 3, 4], [[1, 2, 3, 4, 5]]], ids=["3", "flat", "5"])
def test_wrong_shapes(wrong) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 4\)"):
        Boxes(wrong)


def test_cat_clone_and_moves() -> None:
    a = Boxes(torch.tensor([[0, 0, 1, 1]], dtype=torch.float64))
    assert a.tensor.dtype is torch.float32
    both = Boxes.cat([a, Boxes([[1, 1, 2, 2], [2, 2, 3, 3]])])
    assert len(both) == 3
    assert Boxes.cat([]).tensor.shape == (0, 4)
    copy = a.clone()
    copy.scale(5, 5)
    assert a.tensor.max() == 1
    assert a.to("meta").device.type == "meta"
    assert "Boxes(" in repr(a)
    assert [row.tolist() for row in both][1] == [1, 1, 2, 2]
    with pytest.raises(AssertionError, match="list or tuple of Boxes"):
        Boxes.cat(a)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_compiles_boxes() -> None:
    def joined(tensor: torch.Tensor) -> Boxes:
        boxes = Boxes(tensor).to(torch.device("cpu"))
        boxes.clip((3, 4))
        boxes.scale(2.0, 3.0)
        return boxes.cat([boxes, boxes.clone()])

    corners = torch.tensor([[-1.0, 0, 9, 9], [1, 1, 2, 2]])
    assert torch.equal(torch.jit.script(joined)(corners).tensor, joined(corners).tensor)


@pytest.mark.parametrize(
    "make",
    [list, tuple, np.array, torch.tensor, lambda box: np.array([box, box]), lambda box: torch.tensor([box, box])],
    ids=["list", "tuple", "array", "tensor", "Nx4 array", "Nx4 tensor"],
)
def test_box_mode_there_and_back(make) -> None:
    box = make([10.0, 20.0, 30.5, 40.25])
    corners = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert type(corners) is type(box)
    assert np.asarray(corners).reshape(-1, 4)[0].tolist() == [10, 20, 40.5, 60.25]
    assert np.asarray(box).reshape(-1, 4)[0].tolist() == [10, 20, 30.5, 40.25]
    back = BoxMode.convert(corners, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert np.array_equal(np.asarray(back), np.asarray(box))


def test_box_mode_same_mode_is_a_copy() -> None:
    box = np.ones(4)
    copy = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYXY_ABS)
    assert copy is not box and np.array_equal(copy, box)


def test_box_mode_takes_the_numbers_of_data_sets() -> None:
    assert BoxMode.convert([1, 2, 3, 4], 1, 0) == [1, 2, 4, 6]
    assert [mode.value for mode in BoxMode] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("box", "source", "target", "error"),
    [
        ([1, 2, 3, 4], BoxMode.XYXY_REL, BoxMode.XYXY_ABS, AssertionError),
        ([1, 2, 3, 4], BoxMode.XYWH_ABS, BoxMode.XYWH_REL, AssertionError),
        ([1, 2, 3, 4, 5], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS, NotImplementedError),
        ([1, 2, 3], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, ValueError),
        ([1, 2, 3], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, AssertionError),
        (np.zeros((2, 3)), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, AssertionError),
        ([[1, 2, 3, 4]], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, AssertionError),
        (((1, 2, 3, 4),), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, AssertionError),
        ([1, 2, 3, 4], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS, AssertionError),
    ],
    ids=[
        "relative",
        "to relative",
        "rotated",
        "three numbers",
        "three numbers, as upstream",
        "Nx3 array",
        "list of a list",
        "tuple of a tuple",
        "no angle",
    ],  # fmt: skip
)
def test_box_mode_refuses(box, source: BoxMode, target: BoxMode, error: type[Exception]) -> None:
    with pytest.raises(error):
        BoxMode.convert(box, source, target)
