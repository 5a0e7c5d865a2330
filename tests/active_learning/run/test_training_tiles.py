from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.network.network_config import network_config
from active_learning.run.data import RunData
from active_learning.run.training_tiles import cut_training_images
from active_learning.settings import Settings


@pytest.mark.parametrize("colours", ["BGR", "RGB"])
def test_tiles_of_a_training(settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, colours: str):
    chosen = Settings(**{**settings.model_dump(), "tile_size": 64, "tile_overlap": 0.25, "cuda_visible_devices": "cpu"})
    cfg = network_config(chosen, chosen.experiments()[0])
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN = colours, [1.4, 127.6, 255.0]
    data, images = RunData(chosen), ["00.png", "01.png"]
    data.write("train", images)
    with caplog.at_level(logging.INFO):
        summary = cut_training_images(data, images, tmp_path / "tiles", cfg, seed=0)
    assert (summary.images, summary.images_with) == (2, {"a": 2, "b": 0})
    assert "Training on 2 images: 2 tiles of 64 pixels, 2 of them with objects" in caplog.text
    document = json.loads((tmp_path / "tiles" / "tiles.json").read_text(encoding="utf-8"))
    pixels = np.asarray(Image.open(tmp_path / "tiles" / document["images"][0]["file_name"]))
    assert pixels[:24, :32].tolist() == np.asarray(Image.open(settings.traindir / "00.png")).tolist()
    assert pixels[40, 50].tolist() == ([1, 128, 255] if colours == "RGB" else [255, 128, 1])
