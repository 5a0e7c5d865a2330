from __future__ import annotations

import pytest
import torch

from detectron2.layers import ShapeSpec
from detectron2.modeling import DefaultAnchorGenerator, build_anchor_generator


def test_cell_anchors_have_the_wanted_area_and_ratio() -> None:
    generator = DefaultAnchorGenerator(sizes=[[32, 64]], aspect_ratios=[[0.25, 1, 4]], strides=[4])
    (anchors,) = generator.cell_anchors
    size = anchors[:, 2:] - anchors[:, :2]
    assert generator.num_anchors == generator.num_cell_anchors == [6]
    assert torch.allclose(size.prod(1).sqrt(), torch.tensor([32.0, 32, 32, 64, 64, 64]))
    assert torch.allclose(size[:, 1] / size[:, 0], torch.tensor([0.25, 1, 4, 0.25, 1, 4]))
    assert torch.allclose(anchors[:, :2], -anchors[:, 2:])


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_grid_goes_row_by_row(offset: float) -> None:
    generator = DefaultAnchorGenerator(sizes=[[4]], aspect_ratios=[[1.0]], strides=[8], offset=offset)
    (boxes,) = generator([torch.zeros(2, 3, 2, 3)])
    expected = [((x + offset) * 8, (y + offset) * 8) for y in range(2) for x in range(3)]
    assert torch.allclose(boxes.get_centers(), torch.tensor(expected))


def test_known_anchors_of_two_levels() -> None:
    generator = DefaultAnchorGenerator(sizes=[[32], [64]], aspect_ratios=[0.5, 1, 2], strides=[4, 8], offset=0.0)
    boxes = generator([torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1)])
    assert [len(level) for level in boxes] == [6, 3]
    wide = torch.tensor([-22.6274, -11.3137, 22.6274, 11.3137])
    assert torch.allclose(boxes[0].tensor[0], wide, atol=1e-4)
    assert torch.allclose(boxes[0].tensor[3], wide + torch.tensor([4.0, 0, 4, 0]), atol=1e-4)
    assert torch.allclose(boxes[1].tensor[0], 2 * wide, atol=1e-4)


def test_anchors_stay_out_of_the_state_dict() -> None:
    assert not DefaultAnchorGenerator(sizes=[[4]], aspect_ratios=[[1.0]], strides=[8]).state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sizes": [[4], [8]]}, "SIZES"), ({"aspect_ratios": [[]]}, "ASPECT_RATIOS"), ({"offset": 1.0}, "OFFSET")],
    ids=["two lists for three maps", "empty list", "offset of a whole stride"],
)
def test_wrong_options_name_their_key(change: dict, message: str) -> None:
    options = {"sizes": [[4]], "aspect_ratios": [[1.0]], "strides": [4, 8, 16], **change}
    with pytest.raises(ValueError, match=message):
        DefaultAnchorGenerator(**options)


def test_from_config(small_cfg) -> None:
    generator = build_anchor_generator(small_cfg, [ShapeSpec(stride=2**i) for i in range(2, 7)])
    assert generator.strides == [4, 8, 16, 32, 64]
    assert generator.num_anchors == [3] * 5


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"sizes": [32, 64], "aspect_ratios": [0.25, 1, 4], "strides": [4]},
        {"sizes": [[8], [16]], "aspect_ratios": [[1], [0.5, 2]], "strides": [4, 8], "offset": 0.0},
    ],
    ids=["one map", "two maps"],
)
def test_torchscript_gives_the_same_anchors(options: dict) -> None:
    generator = DefaultAnchorGenerator(**options)
    compiled = torch.jit.script(generator)
    for height in (1, 3):
        maps = [torch.zeros(2, 3, height, 2) for _ in options["strides"]]
        for boxes, expected in zip(compiled(maps), generator(maps), strict=True):
            assert torch.equal(boxes.tensor, expected.tensor)
            assert torch.equal(boxes.area(), expected.area())


def test_number_of_maps_is_checked() -> None:
    generator = DefaultAnchorGenerator(sizes=[[4]], aspect_ratios=[[1.0]], strides=[4, 8])
    with pytest.raises(ValueError, match="2 feature maps, not 1"):
        generator([torch.zeros(1, 1, 2, 2)])
