"""Small image folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SQUARE = [[2, 3], [12, 3], [12, 13], [2, 13]]


@pytest.fixture
def add_image(tmp_path: Path) -> Callable[[str], Path]:
    """Adds an image (height 30, width 40) of its own content to <tmp_path>/train."""

    def add(name: str) -> Path:
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)).save(path)
        return path

    return add


@pytest.fixture
def annotate(tmp_path: Path) -> Callable[..., Path]:
    """Writes a LabelMe file of squares with the labels given, at a path below <tmp_path>/train."""

    def write(place: str, labels: Sequence[str] = ("healthy",), image: str | None = None, **fields: Any) -> Path:
        path = tmp_path / "train" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shapes = [{"label": label, "points": SQUARE, "shape_type": "polygon"} for label in labels]
        document = {"shapes": shapes, "imagePath": image, "imageData": None, "imageHeight": 30, "imageWidth": 40}
        path.write_text(json.dumps({**document, **fields}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def train(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir(exist_ok=True)
    return folder
