from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances


@pytest.fixture
def coco_content() -> dict[str, Any]:
    """Three images: two objects in two classes, a crowd, nothing."""
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    triangle = [5.0, 5.0, 25.0, 5.0, 5.0, 25.0]
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 7, "bbox": [10, 10, 20, 20], "area": 400, "segmentation": [square]},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [5, 5, 20, 20], "area": 200, "segmentation": [triangle]},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 1},
    ]
    annotations[2]["segmentation"] = {"size": [40, 60], "counts": [0, 4, 36, 4, 36, 4, 36, 4, 2276]}
    for annotation in annotations:
        annotation.setdefault("iscrowd", 0)
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (3, 1, 2)],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "fig"}, {"id": 2, "name": "date"}],
    }


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(content: dict[str, Any]) -> Path:
        rng = np.random.default_rng(0)
        for image in content["images"]:
            pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / image["file_name"]), pixels)
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def small_dataset(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], Path]) -> Iterator[str]:
    """Name of the registered data set of coco_content."""
    name = "test_small_coco"
    path = write_coco(coco_content)
    register_coco_instances(name, {}, path, path.parent)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
