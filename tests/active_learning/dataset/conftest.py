"""Small image folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import Annotation, Instance, Part, cvat

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
def annotate_in_cvat(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file of CVAT with a square that has a hole, and so a mask, at a path below <tmp_path>/train."""

    def write(place: str, image: str, label: str = "healthy") -> Path:
        path = tmp_path / "train" / place
        hole = np.array([[5.0, 6], [9, 6], [9, 10], [5, 10]])
        ring = Instance(label, (Part(np.array(SQUARE, float), (hole,)),))
        cvat.write(Annotation(image, 30, 40, (ring,)), path)
        return path

    return write


@pytest.fixture
def train(tmp_path: Path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir(exist_ok=True)
    return folder
