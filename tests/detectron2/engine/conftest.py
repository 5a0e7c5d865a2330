"""Data sets of a few drawn squares and discs, and a Mask R-CNN so small that a test trains it in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.logger import setup_logger
from tests.conftest import loggers_as_before

IMAGES = 8
NETWORK = """
MODEL:
  DEVICE: cpu
  MASK_ON: True
  PIXEL_STD: [57.4, 57.1, 58.4]
  BACKBONE: {NAME: build_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS:
    DEPTH: 50
    STEM_OUT_CHANNELS: 16
    WIDTH_PER_GROUP: 8
    RES2_OUT_CHANNELS: 32
    NORM: BN
    OUT_FEATURES: [res2, res3, res4, res5]
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 32, NORM: GN}
  ANCHOR_GENERATOR: {SIZES: [[8], [16], [24], [32], [48]], ASPECT_RATIOS: [[1.0]]}
  RPN:
    IN_FEATURES: [p2, p3, p4, p5, p6]
    PRE_NMS_TOPK_TRAIN: 60
    PRE_NMS_TOPK_TEST: 60
    POST_NMS_TOPK_TRAIN: 30
    POST_NMS_TOPK_TEST: 20
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], BATCH_SIZE_PER_IMAGE: 16, NUM_CLASSES: 2}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 32, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 16, POOLER_RESOLUTION: 7}
INPUT: {MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {IMS_PER_BATCH: 2, BASE_LR: 0.01, WARMUP_ITERS: 2, STEPS: []}
VERSION: 2
"""


@contextmanager
def process_as_before() -> Iterator[None]:
    """What setup_logger does to the engine's logger would change what later tests see in their logs; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with loggers_as_before():
        yield
    setup_logger.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    with process_as_before():
        yield


def _draw(rng: np.random.Generator, height: int, width: int, is_disc: bool) -> tuple[np.ndarray, list[float]]:
    """An image, and the outline of what is drawn in it."""
    image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    x, y, r = (int(value) for value in rng.integers((18, 18, 8), (width - 17, height - 17, 14)))
    if is_disc:
        cv2.circle(image, (x, y), r, (60, 60, 250), -1)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        return image, np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1).ravel().tolist()
    cv2.rectangle(image, (x - r, y - r), (x + r, y + r), (60, 250, 60), -1)
    return image, [x - r, y - r, x + r, y - r, x + r, y + r, x - r, y + r]


def _annotation(number: int, outline: list[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = min(outline[::2]), min(outline[1::2]), max(outline[::2]), max(outline[1::2])
    return {
        "id": number + 1,
        "image_id": number,
        "category_id": number % 2 + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "segmentation": [outline],
        "iscrowd": 0,
    }


def _write_dataset(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(IMAGES):
        height, width = sizes[number % len(sizes)]
        image, outline = _draw(rng, height, width, number % 2 == 1)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        annotations.append(_annotation(number, outline))
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "disc"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def square_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.png to 7.png, 64 x 64 pixels, one square or disc in each in turn, and dataset.json in COCO's format."""
    return _write_dataset(tmp_path_factory.mktemp("square"), [(64, 64)])


@pytest.fixture(scope="session")
def mixed_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As square_images, but landscape and portrait."""
    return _write_dataset(tmp_path_factory.mktemp("mixed"), [(48, 64), (64, 48), (48, 64)])


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


@pytest.fixture
def make_cfg(network_file: Path, tmp_path: Path) -> Iterator[Callable[..., CfgNode]]:
    """Config of the tiny network on images of such a folder; the rest are KEY, VALUE, ..."""
    name = "test_engine_shapes"

    def make(images: Path, *overrides: Any) -> CfgNode:
        if name not in DatasetCatalog.list():
            register_coco_instances(name, {}, str(images / "dataset.json"), str(images))
        cfg = get_cfg()
        cfg.merge_from_file(str(network_file))
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
        cfg.OUTPUT_DIR = str(tmp_path / "out")
        cfg.merge_from_list(list(overrides))
        return cfg

    yield make
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
