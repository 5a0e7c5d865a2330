"""What `--check` says about large images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from active_learning.network.network_config import network_config
from active_learning.run.check import describe_run
from active_learning.run.large_images import describe_large_images, describe_tiles
from active_learning.settings import Settings


def changed(settings: Settings, **changes: object) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


@pytest.mark.parametrize(
    ("sizes", "values", "words"),
    [
        ({"a": (800, 1000)}, {}, []),
        ({"a": (800, 2000)}, {}, []),
        (
            {"a": (800, 1000), "b": (3000, 4000), "c": (2001, 100)},
            {},
            ["train: 2 of 3 images, such as b (4000 x 3000 pixels), are shrunk before the network sees them, up to 4.0 "
             "times; where objects are small, set tile_size"],
        ),
        ({"a": (1024, 1024)}, {"tile_size": 1024}, []),
        (
            {"a": (1024, 1024), "b": (3000, 4000)},
            {"tile_size": 1024},
            ["train: 1 of 2 images, such as b (4000 x 3000 pixels), is larger than a tile; the network sees 10.5 "
             "tiles an image on average"],
        ),
    ],
    ids=["small", "twice as large", "shrunk", "a tile", "tiles"],
)  # fmt: skip
def test_large_images_are_described(settings, sizes, values, words):
    chosen = changed(settings, image_min_size=800, image_max_size=1000, **values)
    cfg = network_config(changed(chosen, cuda_visible_devices="cpu"), chosen.experiments()[0])
    assert list(describe_large_images(Path("train"), sizes, cfg)) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"tile_size": 1024, "image_min_size": 1024}, ""),
        ({"tile_size": 1024}, "tiles of 1024 pixels are shrunk to 800"),
        ({"tile_size": 512}, "tiles of 512 pixels are enlarged to 800"),
        ({"tile_size": 2048, "image_min_size": 1333, "image_max_size": 1333}, "shrunk to 1333"),
    ],
    ids=["no tiles", "as they are", "shrunk", "enlarged", "by the longer side"],
)
def test_tiles_that_are_resized_are_described(settings, values, words):
    chosen = changed(settings, cuda_visible_devices="cpu", **values)
    notes = list(describe_tiles(network_config(chosen, chosen.experiments()[0])))
    assert len(notes) == bool(words) and all(words in note for note in notes)


def test_the_check_has_these_notes(settings):
    chosen = changed(settings, image_min_size=32, image_max_size=32)
    Image.new("RGB", (100, 50)).save(settings.traindir / "large.png")
    plan = describe_run(chosen)
    assert "1 of 15 images, such as large.png (100 x 50 pixels), is shrunk before" in plan
    assert "a training counts tiles" not in plan
    plan = describe_run(changed(chosen, tile_size=64))
    assert "is larger than a tile; the network sees 1.1 tiles an image on average" in plan
    assert "tiles of 64 pixels are shrunk to 32 before" in plan
    assert "a training counts tiles, so that it may have more" in plan
