"""Instances: fields of one length, selected and joined together."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks


def three(size: tuple[int, int] = (10, 12)) -> Instances:
    triangle = [np.array([0.0, 0, 4, 0, 4, 4])]
    instances = Instances(size, scores=torch.tensor([0.1, 0.2, 0.3]))
    instances.pred_boxes = Boxes(torch.arange(12.0).reshape(3, 4))
    instances.gt_masks = PolygonMasks([triangle] * 3)
    instances.bits = BitMasks(torch.eye(3).bool()[:, None])
    instances.names = ["a", "b", "c"]
    return instances


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (0, ["a"]),
        (-1, ["c"]),
        (slice(1, None), ["b", "c"]),
        (torch.tensor([2, 0]), ["c", "a"]),
        (torch.tensor([True, False, True]), ["a", "c"]),
        ([1], ["b"]),
        (torch.zeros(3, dtype=torch.bool), []),
    ],
    ids=["int", "negative", "slice", "indices", "bools", "list", "nothing"],
)
def test_indexing_selects_in_every_field(item, names: list[str]) -> None:
    selected = three()[item]
    rows = ["abc".index(name) for name in names]
    assert selected.names == names
    assert len(selected) == len(selected.gt_masks) == len(selected.bits) == len(names)
    assert selected.scores.equal(three().scores[rows])
    assert selected.pred_boxes.tensor.equal(three().pred_boxes.tensor[rows])
    assert selected.image_size == (10, 12)


@pytest.mark.parametrize("item", [3, -4])
def test_index_out_of_range(item: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        three()[item]


@pytest.mark.parametrize("count", [2, 4])
def test_bools_must_be_as_many(count: int) -> None:
    with pytest.raises(IndexError, match=f"{count} bools cannot index 3"):
        three()[torch.ones(count, dtype=torch.bool)]


def test_fields_have_one_length() -> None:
    instances = three()
    with pytest.raises(ValueError, match="'pred_classes' has length 2"):
        instances.pred_classes = torch.zeros(2)
    instances.remove("names")
    assert not instances.has("names") and instances.has("scores")
    with pytest.raises(AttributeError, match="no field 'names'"):
        _ = instances.names
    with pytest.raises(KeyError):
        instances.get("names")
    assert instances.get("scores") is instances.get_fields()["scores"]


def test_no_fields() -> None:
    empty = Instances((4, 5))
    with pytest.raises(NotImplementedError):
        len(empty)
    assert "num_instances=0" in str(empty)
    assert empty[torch.tensor([True, False])].get_fields() == {}  # as Detectron2


def test_iterating_is_refused() -> None:
    with pytest.raises(NotImplementedError):
        iter(three())


def test_cat_joins_every_field() -> None:
    joined = Instances.cat([three(), three()[1], three()[:0]])
    assert joined.names == ["a", "b", "c", "b"]
    assert joined.scores.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.2])
    assert isinstance(joined.pred_boxes, Boxes) and len(joined.pred_boxes) == 4
    assert isinstance(joined.gt_masks, PolygonMasks) and len(joined.gt_masks) == 4
    assert joined.bits.tensor.shape == (4, 1, 3)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "one or more"),
        ([three(), 5], "one or more"),
        ([three(), three((9, 9))], r"\(10, 12\) and \(9, 9\)"),
        ([three(), Instances((10, 12), scores=torch.ones(1))], "fields"),
        ([Instances((4, 4), field=range(2)), Instances((4, 4), field=range(2))], "no `cat`"),
    ],
    ids=["none", "not instances", "sizes", "fields", "field type"],
)
def test_cat_refusals(others, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instances.cat(others)


def test_moves_what_can_be_moved() -> None:
    moved = three().to("meta")
    assert moved.scores.device.type == moved.pred_boxes.device.type == "meta"
    assert moved.names == ["a", "b", "c"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies(duplicate) -> None:
    same = duplicate(three())
    assert same.names == ["a", "b", "c"]
    assert same.image_size == (10, 12)
    assert same.pred_boxes.tensor.equal(three().pred_boxes.tensor)


def test_text_names_size_and_fields() -> None:
    text = repr(three())
    assert "num_instances=3" in text and "image_height=10" in text and "scores" in text


def test_sizes_that_are_tensors_are_not_compared() -> None:
    instances = Instances(torch.tensor([5, 8]), labels=["a"])  # as in a trace
    assert Instances.cat([instances, instances]).labels == ["a", "a"]


def test_a_field_of_another_length_is_an_assertion_error() -> None:
    with pytest.raises(AssertionError, match="length 2"):
        Instances((4, 5), boxes=[1]).set("labels", [1, 2])


def test_what_can_be_page_locked_is(monkeypatch) -> None:
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.shape[1:]) or tensor.clone())
    square = [[np.array([0.0, 0, 1, 0, 1, 1])]]
    own = Instances((4, 4), gt_boxes=Boxes([[0, 0, 1, 1]]), gt_classes=torch.zeros(1), gt_names=["a"])
    own.gt_masks, own.bits = PolygonMasks(square), BitMasks(torch.ones(1, 4, 4))
    copy = own.pin_memory()
    assert pinned == [(4,), (), (4, 4)]
    assert {name: type(value) for name, value in copy.get_fields().items()} == {
        name: type(value) for name, value in own.get_fields().items()
    }
