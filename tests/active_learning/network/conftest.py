"""A network and a data set so small that a test trains in seconds: bright squares and discs on dark 64 px images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from active_learning.settings import Settings

CLASSES = ("square", "disc", "never")
SIZE = 64
NETWORK = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  MASK_ON: True
  PIXEL_STD: [57.4, 57.1, 58.4]
  BACKBONE: {NAME: build_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN, OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 32, NORM: BN}
  ANCHOR_GENERATOR: {SIZES: [[8], [16], [24], [32], [48]], ASPECT_RATIOS: [[1.0]]}
  RPN:
    IN_FEATURES: [p2, p3, p4, p5, p6]
    PRE_NMS_TOPK_TRAIN: 100
    PRE_NMS_TOPK_TEST: 100
    POST_NMS_TOPK_TRAIN: 50
    POST_NMS_TOPK_TEST: 20
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], BATCH_SIZE_PER_IMAGE: 16}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 32, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 16, POOLER_RESOLUTION: 7}
SOLVER: {CLIP_GRADIENTS: {ENABLED: True}}
INPUT: {MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}
VERSION: 2
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def network_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("network") / "tiny.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


@pytest.fixture
def make_settings(network_file):
    """Settings of the tiny network; keyword arguments replace keys."""

    def make(**keys: Any) -> Settings:
        values: dict[str, Any] = {
            "classes": list(CLASSES),
            "network_config": str(network_file),
            "pretrained_weights": "",
            "cuda_visible_devices": "cpu",
            "confidence_threshold": 0.2,
            "train_iterations_base": 4,
            "eval_period": 2,
            "warmup_iterations": 1,
            "train_batch_size": 2,
            "num_workers": 0,
        }
        return Settings.model_validate({**values, **keys})

    return make


@pytest.fixture
def make_cfg(make_settings):
    """The network's config for such settings."""

    def make(**keys: Any):
        from active_learning.network.network_config import network_config

        settings = make_settings(**keys)
        return network_config(settings, settings.experiments()[0])

    return make


def _image(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, list[float]]:
    """An image, and the outline of the object in it."""
    image = rng.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
    x, y, r = (int(value) for value in rng.integers((20, 20, 8), (44, 44, 14)))
    if kind == "disc":
        cv2.circle(image, (x, y), r, (60, 60, 250), -1)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        return image, np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1).ravel().tolist()
    cv2.rectangle(image, (x - r, y - r), (x + r, y + r), (60, 250, 60), -1)
    return image, [x - r, y - r, x + r, y - r, x + r, y + r, x - r, y + r]


def _annotation(number: int, kind: str, outline: list[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = min(outline[::2]), min(outline[1::2]), max(outline[::2]), max(outline[1::2])
    return {
        "id": number + 1,
        "image_id": number,
        "category_id": CLASSES.index(kind) + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "segmentation": [outline],
        "iscrowd": 0,
    }


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """0.png to 5.png, squares and discs in turn, 6.png without an object, and dataset.json."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(7):
        kind = ("square", "disc")[number % 2]
        image, outline = _image(rng, kind)
        if number == 6:
            image[:] = 30
        else:
            annotations.append(_annotation(number, kind, outline))
        cv2.imwrite(str(folder / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture
def dataset(image_folder) -> str:
    """The name under which those images are registered."""
    from active_learning.network.training import register_dataset

    register_dataset("tiny_shapes", image_folder / "dataset.json", image_folder, CLASSES)
    return "tiny_shapes"
