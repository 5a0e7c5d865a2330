"""LabelMe documents for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a LabelMe file of the shapes given for a 100x80 (width x height) image; keywords replace top fields."""

    def write(*shapes: Any, **fields: Any) -> Path:
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": "a.jpg",
            "imageData": None,
            "imageHeight": 80,
            "imageWidth": 100,
        }
        path = tmp_path / "a.json"
        path.write_text(json.dumps({**document, **fields}), encoding="utf-8")
        return path

    return write
