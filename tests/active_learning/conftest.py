"""A small annotated data set with the settings for it; no network is trained on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from active_learning.settings import Settings


def annotated_image(path: Path) -> None:
    Image.new("RGB", (32, 24), (90, 120, 60)).save(path)
    points = [[2, 2], [20, 2], [20, 20], [2, 20]]
    shapes = [{"label": "a", "points": points, "shape_type": "polygon", "group_id": None, "flags": {}}]
    document = {"version": "5.0.1", "shapes": shapes, "imagePath": path.name, "imageData": None}
    path.with_suffix(".json").write_text(
        json.dumps({**document, "imageHeight": 24, "imageWidth": 32, "flags": {}}), encoding="utf-8"
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """14 training, 2 validation and 2 test images, each with one object of class a; 4 to start from, 2 loops of 3."""
    for split, count in (("train", 14), ("val", 2), ("test", 2)):
        folder = tmp_path / split
        folder.mkdir()
        for index in range(count):
            annotated_image(folder / f"{index:02d}.png")
    return Settings(
        weightsroot=tmp_path / "weights",
        resultsroot=tmp_path / "results",
        dataroot=tmp_path / "data",
        traindir=tmp_path / "train",
        valdir=tmp_path / "val",
        testdir=tmp_path / "test",
        classes=["a", "b"],
        initial_datasize=4,
        pool_size=3,
        loops=2,
        pretrained_weights="",
    )
