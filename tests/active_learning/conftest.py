"""A small annotated data set with the settings for it; no network is trained on it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from active_learning.network import network_check
from active_learning.sampling.class_uncertainty import class_uncertainty
from active_learning.sampling.pool_record import ObjectRecord, PoolRecord
from active_learning.settings import Settings
from detectron2.config import CfgNode


@pytest.fixture(autouse=True, scope="session")
def networks_that_are_checked_are_built_once() -> Iterator[None]:
    """Each start builds its network without memory to check it, and hundreds of tests start with the same."""
    build, built = network_check.build_without_memory, {}

    def build_once(cfg: CfgNode, name: str) -> nn.Module:
        key = cfg.dump(), name
        if key not in built:
            built[key] = build(cfg, name)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_check, "build_without_memory", build_once)
        yield


def annotated_image(path: Path, objects: int = 1) -> None:
    Image.new("RGB", (32, 24), (90, 120, 60)).save(path)
    points = [[2, 2], [20, 2], [20, 20], [2, 20]]
    shape = {"label": "a", "points": points, "shape_type": "polygon", "group_id": None, "flags": {}}
    shapes = [shape] * objects
    document = {"version": "5.0.1", "shapes": shapes, "imagePath": path.name, "imageData": None}
    path.with_suffix(".json").write_text(
        json.dumps({**document, "imageHeight": 24, "imageWidth": 32, "flags": {}}), encoding="utf-8"
    )


def write_weights(path: Path, **more: Any) -> None:
    """A file that is of weights, though of no network here, with `more` beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"backbone.bottom_up.stem.conv1.weight": torch.zeros(2, 3, 3, 3)}, **more}, path)


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


def object_record(certainty: float, probabilities: Sequence[Sequence[float]]) -> ObjectRecord:
    """probabilities (n, K) of its members; seen in n of 10 passes."""
    members = np.array(probabilities, dtype=np.float64)
    uncertainty = class_uncertainty(members)
    return ObjectRecord(
        size=len(members),
        semantic=certainty,
        mask=1.0,
        box=1.0,
        occurrence=len(members) / 10,
        certainty=certainty,
        mean_box=(1.0, 2.0, 30.25, 40.0),
        probabilities=tuple(members.mean(axis=0).tolist()),
        entropy=uncertainty.entropy,
        margin=uncertainty.margin,
        mutual_information=uncertainty.mutual_information,
    )


@pytest.fixture(scope="session")
def make_record() -> Callable[..., PoolRecord]:
    """make_record(name, [certainty of each object], [probabilities (n, K) of each object], features (C,))."""

    def make(
        name: str,
        certainties: Sequence[float] = (),
        probabilities: Sequence[Sequence[Sequence[float]]] | None = None,
        features: Sequence[float] = (1.0, 2.0),
    ) -> PoolRecord:
        members = probabilities or [[[0.75, 0.125]]] * len(certainties)
        objects = tuple(object_record(*pair) for pair in zip(certainties, members, strict=True))
        value = math.fsum(certainties) / len(certainties) if certainties else math.nan
        return PoolRecord(name, value, 24, 32, objects, np.array(features, dtype=np.float32))

    return make
