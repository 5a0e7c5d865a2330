from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torch.utils._python_dispatch import TorchDispatchMode

from active_learning.sampling import certainty_of, image_certainty
from active_learning.sampling.tensors import read_passes
from benchmarks.published_sampling import certainty, observations

GOLDEN = json.loads((Path(__file__).parent / "data" / "certainty.json").read_text(encoding="utf-8"))
Passes = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def golden_passes(case: dict[str, Any]) -> Passes:
    height, width, classes = case["height"], case["width"], case["num_classes"]

    def decode(detection: dict[str, Any]) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools meets numpy 2
            return coco_mask.decode({"size": [height, width], "counts": detection["rle"].encode()}).astype(bool)

    return [
        (
            torch.from_numpy(np.array([decode(d) for d in one_pass], dtype=bool).reshape(-1, height, width)),
            torch.tensor([d["box"] for d in one_pass], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([d["softmax"] for d in one_pass], dtype=torch.float32).reshape(-1, classes),
        )
        for one_pass in case["passes"]
    ]


@pytest.mark.parametrize("mode", ["mean", "min", "max"])
@pytest.mark.parametrize("case", GOLDEN, ids=[f"case{index}" for index in range(len(GOLDEN))])
def test_golden(case: dict[str, Any], mode: str) -> None:
    result = image_certainty(golden_passes(case), iou_threshold=case["iou_thres"], mode=mode)
    assert [observation.size for observation in result.observations] == case["observation_sizes"]
    expected = case["certainty"][mode]
    if expected is None:
        assert math.isnan(result.value)
    else:
        assert result.value == pytest.approx(expected, abs=1e-5)


def test_golden_covers_something() -> None:
    assert len(GOLDEN) >= 16
    assert sum(len(case["observation_sizes"]) for case in GOLDEN) > 30


@st.composite
def random_passes(draw: st.DrawFn) -> Passes:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    return [one_pass(rng, int(rng.integers(0, 5)), classes, height, width) for _ in range(draw(st.integers(1, 6)))]


def one_pass(rng: np.random.Generator, n: int, k: int, h: int, w: int) -> tuple[torch.Tensor, ...]:
    """Rectangles with noise; some masks stay empty; boxes do not always fit their masks."""
    masks = np.zeros((n, h, w), dtype=bool)
    for mask in masks:
        y, x = int(rng.integers(0, h)), int(rng.integers(0, w))
        size_y, size_x = rng.integers(0, h + 1), rng.integers(0, w + 1)
        mask[y : y + size_y, x : x + size_x] = rng.random(mask[y : y + size_y, x : x + size_x].shape) < 0.8
    corner = rng.random((n, 2)) * [w, h]
    boxes = np.concatenate([corner, corner + rng.random((n, 2)) * [w, h]], axis=1)
    probabilities = rng.dirichlet([0.5] * (k + 1), n)[:, :k] + 1e-9
    return torch.from_numpy(masks), torch.from_numpy(boxes), torch.from_numpy(probabilities)


@given(passes=random_passes(), iou_threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9]))
@settings(max_examples=500, deadline=None)
def test_equals_the_published_algorithm(passes: Passes, iou_threshold: float) -> None:
    results = {mode: image_certainty(passes, iou_threshold=iou_threshold, mode=mode) for mode in ("mean", "min", "max")}
    result = results["mean"]
    groups = observations(passes, iou_threshold)
    expected = [certainty(group, len(passes)) for group in groups]
    assert [observation.certainty for observation in result.observations] == pytest.approx(expected, abs=1e-9)
    for observation, group in zip(result.observations, groups, strict=True):
        assert observation.mean_box == pytest.approx(np.mean([member.box for member in group], axis=0))
        rows = np.array([member.probabilities for member in group])
        assert observation.probabilities == pytest.approx(rows)
    for mode, combine in (("mean", np.mean), ("min", np.min), ("max", np.max)):
        value = results[mode].value
        assert (math.isnan(value) and not expected) or value == pytest.approx(combine(expected), abs=1e-9)


def test_members_name_their_passes() -> None:
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    seen, nothing = (mask, torch.zeros(1, 4), torch.ones(1, 1)), (mask[:0], torch.zeros(0, 4), torch.zeros(0, 1))
    (observation,) = image_certainty([nothing, seen, nothing, seen], iou_threshold=0.5, mode="mean").observations
    assert observation.passes == (1, 3)


def test_cut_masks_have_the_certainty_of_whole_masks() -> None:
    passes = full_hd_passes()
    cut = tuple(tuple(one_pass) for one_pass in read_passes(passes))
    for mode in ("mean", "min", "max"):
        expected = image_certainty(passes, iou_threshold=0.5, mode=mode)
        assert certainty_of(cut, iou_threshold=0.5, mode=mode) == expected


@pytest.mark.parametrize(
    ("passes", "mode", "words"),
    [(((),), "median", "mode 'median' is not one of"), ((), "mean", "at least one pass")],
    ids=["unknown-mode", "no-pass"],
)
def test_faulty_forward_passes(passes: tuple[tuple[()], ...], mode: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certainty_of(passes, iou_threshold=0.5, mode=mode)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, "0.5", None])
def test_a_threshold_that_is_no_share(threshold: Any) -> None:
    with pytest.raises(ValueError, match="iou_threshold must be from 0 to 1, not "):
        image_certainty([], iou_threshold=threshold, mode="mean")


WRONG_PASSES: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any], str]] = {
    "arrays": (lambda *one: tuple(tensor.numpy() for tensor in one), "not .ndarray, ndarray, ndarray."),
    "lists": (lambda *one: tuple(tensor.tolist() for tensor in one), "not .list, list, list."),
    "two": (lambda mask, box, _: (mask, box), "not .Tensor, Tensor."),
    "a dict": (lambda mask, *_: {"masks": mask}, "not dict"),
    "a tensor": (lambda mask, *_: mask, "not Tensor"),
    "masks of 8 bits": (lambda mask, *others: (mask.byte(), *others), r"masks must be \(n, H, W\) bool"),
    "a number as masks": (lambda mask, *others: (torch.tensor(True), *others), r"equally many, not of shape \(\),"),
    "a number as boxes": (lambda mask, box, p: (mask, box.sum(), p), "equally many, not of shape"),
    "logits": (lambda mask, box, _: (mask, box, torch.tensor([[3.0, -2.0]])), "from 0 to 1, not -2 to 3; logits"),
    "below 0": (lambda mask, box, _: (mask, box, torch.tensor([[0.4, -0.1]])), "from 0 to 1, not -0.1 to 0.8"),
    "per cent": (lambda mask, box, _: (mask, box, torch.tensor([[80.0, 5.0]])), "from 0 to 1, not 0.1 to 80"),
    "a box turned round": (lambda mask, box, p: (mask, box.flip(1), p), "boxes must be x0, y0, x1, y1 with x0 <= x1"),
    "width and height": (
        lambda mask, _, p: (mask, torch.tensor([[9.0, 9, 4, 5]]), p), r"not \[9.0, 9.0, 4.0, 5.0\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG_PASSES.values(), ids=WRONG_PASSES)
def test_passes_of_another_kind_are_named(change: Callable[..., Any], words: str) -> None:
    good = detection(box_mask(0, 0, 9, 9), [0.8, 0.1])
    with pytest.raises(ValueError, match=words):
        image_certainty([good, change(*good)], iou_threshold=0.5, mode="mean")


def test_passes_may_come_one_by_one() -> None:
    good = detection(box_mask(0, 0, 9, 9), [0.8, 1.0005])  # as rounded in 16 bits
    expected = image_certainty([good] * 3, iou_threshold=0.5, mode="mean")
    assert image_certainty(iter([good] * 3), iou_threshold=0.5, mode="mean") == expected


def box_mask(x0: int, y0: int, x1: int, y1: int, size: int = 20) -> torch.Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[0, y0:y1, x0:x1] = True
    return mask


def detection(mask: torch.Tensor, probabilities: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return mask, torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([probabilities])


EMPTY = (torch.zeros(0, 20, 20, dtype=torch.bool), torch.zeros(0, 4), torch.zeros(0, 1))


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        pytest.param([detection(box_mask(0, 0, 10, 10), [0.8])] * 2, [(2, 0.8, 1.0, 1.0, 1.0)], id="the-same-twice"),
        pytest.param([detection(box_mask(0, 0, 10, 10), [0.8]), EMPTY], [(1, 0.8, 1.0, 1.0, 0.5)], id="seen-once-in-2"),
        pytest.param([detection(box_mask(0, 0, 0, 0), [0.8])], [(1, 0.8, 0.0, 1.0, 1.0)], id="mask-without-pixels"),
        pytest.param(
            [detection(box_mask(0, 0, 10, 10), [0.5, 0.5])], [(1, 0.0, 1.0, 1.0, 1.0)], id="two-classes-evenly"
        ),
        pytest.param([detection(box_mask(0, 0, 10, 10), [0.7, 0.0])], [(1, 1.0, 1.0, 1.0, 1.0)], id="renormalised"),
        pytest.param([detection(box_mask(0, 0, 10, 10), [0.0, 0.0])], [(1, 0.0, 1.0, 1.0, 1.0)], id="no-probability"),
        pytest.param(
            [detection(box_mask(0, 0, 10, 10), [1.0]), detection(box_mask(0, 0, 10, 5), [1.0])],
            [(1, 1.0, 1.0, 1.0, 0.5)] * 2,
            id="iou-of-exactly-the-threshold-is-another-object",
        ),
        pytest.param([EMPTY, EMPTY], [], id="nothing-seen"),
    ],
)
def test_components(passes: Passes, expected: list[tuple[float, ...]]) -> None:
    result = image_certainty(passes, iou_threshold=0.5, mode="mean")
    assert [(item.size, item.semantic, item.mask, item.box, item.occurrence) for item in result.observations] == [
        pytest.approx(row, abs=1e-6) for row in expected
    ]
    for item in result.observations:
        assert item.certainty == pytest.approx(item.semantic * item.mask * item.box * item.occurrence)


def test_more_members_than_passes_is_clamped() -> None:
    twice = tuple(torch.cat([tensor, tensor]) for tensor in detection(box_mask(0, 0, 10, 10), [0.8]))
    (observation,) = image_certainty([twice], iou_threshold=0.5, mode="mean").observations
    assert (observation.size, observation.occurrence) == (2, 1.0)


def test_order_of_passes_decides_which_member_is_first() -> None:
    """The chain a-b-c: c overlaps b, but not a, the first member; so it opens an observation of its own."""
    a, b, c = (detection(box_mask(x, 0, x + 10, 10), [1.0]) for x in (0, 3, 6))
    sizes = [o.size for o in image_certainty([a, b, c], iou_threshold=0.5, mode="mean").observations]
    assert sizes == [2, 1]
    sizes = [o.size for o in image_certainty([b, a, c], iou_threshold=0.5, mode="mean").observations]
    assert sizes == [3]


MASK, BOX, ROW = detection(box_mask(0, 0, 10, 10), [0.8])


@pytest.mark.parametrize(
    ("passes", "mode", "words"),
    [
        pytest.param([], "mean", "at least one pass", id="no-pass"),
        pytest.param([EMPTY], "median", "mode 'median' is not one of mean, min, max", id="unknown-mode"),
        pytest.param([(MASK.float(), BOX, ROW)], "mean", r"pass 0: masks must be \(n, H, W\) bool", id="float-masks"),
        pytest.param([EMPTY, (MASK[0], BOX, ROW)], "mean", "pass 1: .*equally many", id="mask-without-n"),
        pytest.param([(MASK[:, None], BOX, ROW)], "mean", r"\(n, H, W\) bool, not \(1, 1, 20, 20\)", id="4-d-masks"),
        pytest.param([(MASK, BOX[:, :3], ROW)], "mean", r"boxes must be \(n, 4\), not \(1, 3\)", id="3-box-numbers"),
        pytest.param([(MASK, BOX, ROW[0])], "mean", r"probabilities must be \(n, K\)", id="1-d-probabilities"),
        pytest.param([(MASK, BOX, ROW[:, :0])], "mean", "K >= 1", id="no-class"),
        pytest.param([(MASK, BOX[:0], ROW)], "mean", "equally many", id="fewer-boxes"),
        pytest.param([(MASK, BOX, ROW), (MASK[:, :9], BOX, ROW)], "mean", "one size", id="two-image-sizes"),
        pytest.param(
            [(MASK, BOX, ROW), (MASK, BOX, ROW.repeat(1, 2))], "mean", "one number of classes", id="two-class-counts"
        ),
        pytest.param([(MASK, BOX * math.nan, ROW)], "mean", "NaN or infinity", id="nan-box"),
    ],
)
def test_wrong_shapes(passes: Passes, mode: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        image_certainty(passes, iou_threshold=0.5, mode=mode)


def full_hd_passes(device: str = "cpu") -> Passes:
    rng = np.random.default_rng(0)
    passes = []
    for _ in range(10):
        masks = torch.zeros(10, 1080, 1920, dtype=torch.bool, device=device)
        boxes = []
        for index in range(10):
            x0, y0 = 150 * index + int(rng.integers(0, 20)), 80 * index + int(rng.integers(0, 20))
            masks[index, y0 : y0 + 200, x0 : x0 + 300] = True
            boxes.append([x0, y0, x0 + 300, y0 + 200])
        probabilities = torch.from_numpy(rng.dirichlet([1.0] * 6, 10)[:, :5])
        passes.append((masks, torch.tensor(boxes, dtype=torch.float32, device=device), probabilities.to(device)))
    return passes


class CountedPixels(TorchDispatchMode):
    """Counts the values that torch calculates."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor) and not function.is_view:
            self.count += result.numel()
        return result


def test_of_a_full_hd_image_only_the_objects_are_calculated_with() -> None:
    passes = full_hd_passes()
    with CountedPixels() as pixels:
        result = image_certainty(passes, iou_threshold=0.5, mode="mean")
    assert pixels.count < 10 * 10 * 1080 * 1920 / 10
    assert [observation.size for observation in result.observations] == [10] * 10


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    on_gpu = image_certainty(full_hd_passes("cuda"), iou_threshold=0.5, mode="mean")
    assert on_gpu == image_certainty(full_hd_passes(), iou_threshold=0.5, mode="mean")
