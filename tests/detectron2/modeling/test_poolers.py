from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    build_roi_pooler,
    convert_boxes_to_pooler_format,
)
from detectron2.structures import Boxes

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def square(side: float) -> list[float]:
    return [10.0, 10.0, 10.0 + side, 10.0 + side]


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 0), (1, 0), (111, 0), (113, 1), (223, 1), (225, 2), (449, 3), (5000, 3)],
)
def test_level_of_a_square(side: float, level: int) -> None:
    assert assign_boxes_to_levels([Boxes([square(side)])], 2, 5, 224, 4).tolist() == [level]


def test_pooler_format_numbers_the_images() -> None:
    rows = convert_boxes_to_pooler_format([Boxes([square(5)]), Boxes([]), Boxes([square(6), square(7)])])
    assert rows[:, 0].tolist() == [0, 2, 2]
    assert rows[:, 1:].tolist() == [square(5), square(6), square(7)]


def features(num_images: int = 2) -> list[torch.Tensor]:
    return [torch.randn(num_images, 3, int(512 * s), int(512 * s), requires_grad=True) for s in SCALES]


def test_each_box_is_pooled_from_its_level_and_image() -> None:
    maps = features()
    boxes = [Boxes([square(300), square(20)]), Boxes([square(150), square(470), square(60)])]
    pooled = ROIPooler(7, SCALES, 0, "ROIAlignV2")(maps, boxes)
    rows = convert_boxes_to_pooler_format(boxes)
    for row, own, level in zip(rows, pooled, [2, 0, 1, 3, 0], strict=True):
        expected = roi_align(maps[level], row[None], (7, 7), SCALES[level], 0, aligned=True)
        assert torch.allclose(own, expected[0], atol=1e-6)
    pooled.sum().backward()
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in maps)


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign", "ROIPool"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_pooling_all_boxes_from_each_level_gives_the_same(pooler_type: str, sampling_ratio: int) -> None:
    torch.manual_seed(0)
    pooler = ROIPooler(7, SCALES, sampling_ratio, pooler_type)
    for level in pooler.level_poolers:
        level.cpu_kernels = False
    boxes = [Boxes([square(0), square(100), square(470)]), Boxes([square(20), square(300)])]
    rows, levels = convert_boxes_to_pooler_format(boxes), assign_boxes_to_levels(boxes, 2, 5, 224, 4)
    found, gradients = [], []
    for form in (pooler._pool_own, pooler._pool_all):
        torch.manual_seed(1)
        maps = features()
        found.append(form(maps, rows, levels))
        found[-1].square().sum().backward()
        gradients.append([torch.zeros_like(own) if own.grad is None else own.grad for own in maps])
    assert torch.equal(*found)
    assert all(torch.allclose(own, all_, atol=1e-4) for own, all_ in zip(*gradients, strict=True))


def test_pooling_all_boxes_from_each_level_rounds_to_half_precision_as_their_own() -> None:
    boxes = [Boxes([square(100), square(470)]), Boxes([square(20), square(300), square(150)])]
    rows, levels = convert_boxes_to_pooler_format(boxes), assign_boxes_to_levels(boxes, 2, 5, 224, 4)
    pooler, found, gradients = ROIPooler(7, SCALES, 0, "ROIAlignV2"), [], []
    maps = [own.detach().bfloat16().requires_grad_() for own in features()]
    for form in (pooler._pool_own, pooler._pool_all):
        found.append(form(maps, rows, levels))
        gradients.append(torch.autograd.grad(found[-1].square().sum(), maps))
    assert found[1].dtype == torch.bfloat16
    assert torch.equal(*found)
    assert all(torch.equal(own, all_) for own, all_ in zip(*gradients, strict=True))


@pytest.mark.parametrize("scales", [SCALES, SCALES[2:3]], ids=["pyramid", "one level"])
def test_no_boxes(scales: list[float]) -> None:
    pooler = ROIPooler((7, 5), scales, 0, "ROIAlignV2")
    assert pooler([torch.zeros(2, 3, 8, 8)] * len(scales), [Boxes([]), Boxes([])]).shape == (0, 3, 7, 5)


@pytest.mark.parametrize("pooler_type", ["ROIAlignV2", "ROIAlign", "ROIPool"])
def test_types_agree_on_a_constant_map(pooler_type: str) -> None:
    pooled = ROIPooler(7, [1 / 16], 2, pooler_type)([torch.full((1, 2, 32, 32), 5.0)], [Boxes([square(200)])])
    assert torch.allclose(pooled, torch.full((1, 2, 7, 7), 5.0))


def test_half_precision_features_keep_exact_boxes() -> None:
    ramp = torch.arange(512.0).expand(1, 1, 512, 512) / 512
    boxes = [Boxes([[401.3, 10.0, 415.3, 24.0]])]
    exact = ROIPooler(7, [1.0], 0, "ROIAlignV2")([ramp], boxes)
    half = ROIPooler(7, [1.0], 0, "ROIAlignV2")([ramp.bfloat16()], boxes)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), exact, atol=4e-3)


@pytest.mark.parametrize(
    ("scales", "pooler_type", "message"),
    [
        ([1 / 4, 1 / 16], "ROIAlign", "halve"),
        ([1 / 3], "ROIAlign", "power"),
        (SCALES, "ROIAlignRotated", "POOLER_TYPE"),
    ],
    ids=["level left out", "not a power", "unknown type"],
)
def test_wrong_options(scales: list[float], pooler_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ROIPooler(7, scales, 0, pooler_type)


@pytest.mark.parametrize(("num_maps", "num_lists"), [(3, 2), (4, 1)], ids=["maps", "box lists"])
def test_wrong_input_lengths(num_maps: int, num_lists: int) -> None:
    with pytest.raises(ValueError, match="ROIPooler"):
        ROIPooler(7, SCALES, 0, "ROIAlignV2")(features()[:num_maps], [Boxes([square(9)])] * num_lists)


def test_pooler_of_a_head(small_cfg) -> None:
    shapes = {f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in range(2, 7)}
    pooler, shape = build_roi_pooler(small_cfg, small_cfg.MODEL.ROI_BOX_HEAD, shapes)
    assert (pooler.min_level, pooler.max_level, pooler.output_size) == (2, 5, (7, 7))
    assert shape == ShapeSpec(channels=16, height=7, width=7)


def test_features_of_one_pooler_share_their_channels(small_cfg) -> None:
    shapes = {f"p{level}": ShapeSpec(channels=level, stride=2**level) for level in range(2, 7)}
    with pytest.raises(ValueError, match="differ in channels"):
        build_roi_pooler(small_cfg, small_cfg.MODEL.ROI_BOX_HEAD, shapes)
