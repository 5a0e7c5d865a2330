from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from active_learning.errors import UnreadableImageError
from active_learning.network.model_input import (
    TileInputs,
    is_tiled,
    mean_colour,
    network_input,
    seen_size,
    tile_name,
    tile_settings,
)
from active_learning.tiles.grid import Tile

PIXELS = np.random.default_rng(0).integers(0, 255, (100, 150, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), PIXELS)
    return path


def test_an_image_is_resized_by_its_shorter_side(make_cfg: Any):
    content = network_input(PIXELS, make_cfg(image_min_size=64, image_max_size=80))
    assert (content["height"], content["width"]) == (100, 150)
    assert content["image"].shape == (3, 53, 80) and content["image"].dtype == torch.uint8
    same = network_input(PIXELS, make_cfg(image_min_size=100, image_max_size=200))["image"]
    assert (same.numpy() == PIXELS.transpose(2, 0, 1)).all()


def test_names_and_settings_of_tiles(make_cfg: Any):
    whole, tiled = make_cfg(), make_cfg(tile_size=64, tile_overlap=0.25)
    assert (is_tiled(whole), is_tiled(tiled)) == (False, True)
    assert tile_settings(tiled) == [64, 0.25]
    one, other = Tile(y=0, x=0, size=64), Tile(y=0, x=48, size=64)
    assert tile_name("a.png", one, [one]) == "a.png"
    assert tile_name("a.png", other, [one, other]) == "a.png [48, 0]"


@pytest.mark.parametrize(
    ("mean", "colour"), [([1.4, 127.6, 255.0], (1, 128, 255)), ([-3.0, 0.0, 300.0], (0, 0, 255))], ids=["8 bits", "not"]
)
def test_the_mean_colour_has_8_bits(make_cfg: Any, mean: list[float], colour: tuple[int, int, int]):
    cfg = make_cfg()
    cfg.MODEL.PIXEL_MEAN = mean
    assert mean_colour(cfg) == colour


def test_tiles_come_one_after_the_other_with_the_pixels_of_the_image(make_cfg: Any, picture: Path):
    cfg = make_cfg(tile_size=64, tile_overlap=0.25, image_min_size=64, image_max_size=64)
    inputs = TileInputs(picture, cfg)
    assert (inputs.height, inputs.width) == (100, 150)
    assert inputs.content() == {"tiles": inputs, "height": 100, "width": 150}
    found = list(inputs)
    assert [one.tile for one in found] == list(inputs.tiles) and len(found) > 1
    for one in found:
        x0, y0, x1, y1 = one.tile.bounds(100, 150)
        pixels = one.content["image"].numpy().transpose(1, 2, 0)
        assert (pixels[: y1 - y0, : x1 - x0] == PIXELS[y0:y1, x0:x1]).all()
        assert torch.equal(inputs.read(one.tile)["image"], one.content["image"])
        assert seen_size(one.content) == (64, 64)


@pytest.mark.parametrize(("shown", "seen"), [(200, (100, 150)), (100, (50, 75)), (64, (32, 48))])
def test_a_tile_that_is_larger_than_its_image_tells_what_is_image(
    make_cfg: Any, picture: Path, shown: int, seen: tuple[int, int]
):
    (one,) = TileInputs(picture, make_cfg(tile_size=200, image_min_size=shown, image_max_size=shown))
    assert one.content["image"].shape == (3, shown, shown)
    assert seen_size(one.content) == seen
    assert seen_size(network_input(PIXELS, make_cfg(image_min_size=100, image_max_size=200))) == (100, 150)


def test_an_image_that_cannot_be_read_is_named(make_cfg: Any, picture: Path):
    cfg = make_cfg(tile_size=64)
    inputs = TileInputs(picture, cfg)
    picture.write_bytes(picture.read_bytes()[:-2000])
    for read in (lambda: list(inputs), lambda: inputs.read(inputs.tiles[0])):
        with pytest.raises(UnreadableImageError, match=r"a\.png"):
            read()
    picture.write_bytes(b"text")
    with pytest.raises(UnreadableImageError, match=r"a\.png"):
        TileInputs(picture, cfg)
