"""What a network detects tile by tile: in an image of one tile the same as without tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest
import tifffile
import torch

from active_learning.annotations import Annotation
from active_learning.annotations.contours import instance_mask
from active_learning.errors import UnreadableImageError
from active_learning.network.evaluation import evaluate
from active_learning.network.image_batches import UnreadableImage
from active_learning.network.image_features import ImageFeatures
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.model_input import TileInputs
from active_learning.network.pre_labelling import PreLabeller
from active_learning.network.prediction import read_input
from active_learning.network.tiled_inference import RunLengthMasks, TiledDetector
from active_learning.sampling.observations import ForwardPasses, Mask
from active_learning.tiles.joining import TileDetection
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.structures import Instances
from tests.active_learning.network.conftest import CLASSES, SIZE

OVERLAP = 0.25


@pytest.fixture
def cfgs(make_cfg: Callable[..., CfgNode]) -> tuple[CfgNode, CfgNode]:
    """Without and with tiles."""
    return make_cfg(), make_cfg(tile_size=SIZE, tile_overlap=OVERLAP)


@pytest.fixture
def image(tmp_path: Path) -> Callable[[int, int], Path]:
    """image(height, width): bright discs on noise."""

    def make(height: int, width: int) -> Path:
        rng = np.random.default_rng(height * width)
        pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        for x, y in zip(range(12, width, 30), range(12, 12 + width, 17), strict=False):
            cv2.circle(pixels, (x, y % height), 9, (250, 240, 230), -1)
        path = tmp_path / f"{height}x{width}.png"
        cv2.imwrite(str(path), pixels)
        return path

    return make


def same_passes(one: ForwardPasses, other: ForwardPasses) -> bool:
    pairs = [pair for passes in zip(one.passes, other.passes, strict=True) for pair in zip(*passes, strict=True)]
    return all(
        np.array_equal(a.probabilities, b.probabilities)
        and np.array_equal(a.box, b.box)
        and np.array_equal(a.mask.pixels, b.mask.pixels)
        and a.mask.bounds == b.mask.bounds
        for a, b in pairs
    )


def test_passes_over_one_tile_are_those_over_the_image(cfgs: tuple[CfgNode, CfgNode], image: Any):
    path, model = image(SIZE, SIZE), build_model(cfgs[0])
    whole, tiled = (
        MonteCarloDropout(model, cfg, passes=3, seed=1).forward_passes("a.png", read_input(path, cfg)) for cfg in cfgs
    )
    assert sum(map(len, whole.passes)) > 0
    assert same_passes(whole, tiled)
    assert np.allclose(whole.features, tiled.features)


def test_features_of_one_tile_are_those_of_the_image(cfgs: tuple[CfgNode, CfgNode], image: Any):
    path, model = image(SIZE, SIZE), build_model(cfgs[0])
    whole, tiled = (ImageFeatures(model, cfg)("a.png", read_input(path, cfg)) for cfg in cfgs)
    assert np.allclose(whole, tiled)


@pytest.mark.parametrize(
    "size", [(SIZE, SIZE), (150, 100), (40, 90), (30, 20)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_what_is_detected_lies_in_the_image(cfgs: tuple[CfgNode, CfgNode], image: Any, size: tuple[int, int]):
    path, cfg = image(*size), cfgs[1]
    model = build_model(cfg).eval()
    found = TiledDetector(model, cfg).detect(TileInputs(path, cfg))
    assert found.image_size == size
    assert list(found.scores) == sorted(found.scores, reverse=True)
    for mask, (x0, y0, x1, y1) in zip(found.masks, found.pred_boxes.tensor.tolist(), strict=True):
        assert 0 <= x0 <= x1 <= size[1] and 0 <= y0 <= y1 <= size[0]
        assert not mask.area or (
            mask.x >= 0 and mask.y >= 0 and mask.bounds[2] <= size[1] and mask.bounds[3] <= size[0]
        )
    passes = MonteCarloDropout(model, cfg, passes=2, seed=0).forward_passes("a.png", read_input(path, cfg))
    assert (passes.image_height, passes.image_width) == size
    again = MonteCarloDropout(model, cfg, passes=2, seed=0).forward_passes("a.png", read_input(path, cfg))
    assert same_passes(passes, again)


def test_the_settings_of_tiles_are_a_condition_of_scores(cfgs: tuple[CfgNode, CfgNode]):
    model = build_model(cfgs[0])
    whole, tiled = (MonteCarloDropout(model, cfg, passes=2, seed=0).conditions for cfg in cfgs)
    assert {**whole, "tiles": [SIZE, OVERLAP]} == tiled


def test_pre_labels_of_one_tile_are_those_of_the_image(cfgs: tuple[CfgNode, CfgNode], image: Any, tmp_path: Path):
    names, model = [image(SIZE, SIZE).name], build_model(cfgs[0])
    whole, tiled = (next(iter(PreLabeller(model, cfg, CLASSES)(tmp_path, names))) for cfg in cfgs)
    assert isinstance(whole, Annotation) and isinstance(tiled, Annotation)
    assert len(whole.instances) == len(tiled.instances) > 0
    for one, other in zip(whole.instances, tiled.instances, strict=True):
        assert (one.label, one.score) == (other.label, pytest.approx(other.score))
        assert (instance_mask(one, SIZE, SIZE) == instance_mask(other, SIZE, SIZE)).all()


def test_a_large_image_that_is_damaged_further_on_is_left_out(cfgs: tuple[CfgNode, CfgNode], tmp_path: Path):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (200, 80, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=8)
    path.write_bytes(path.read_bytes()[:-9000])
    model = build_model(cfgs[1])
    (found,) = PreLabeller(model, cfgs[1], CLASSES)(tmp_path, ["a.tif"])
    assert isinstance(found, UnreadableImage) and "a.tif" in found.fault
    with pytest.raises(UnreadableImageError, match=r"a\.tif"):
        MonteCarloDropout(model, cfgs[1], passes=1, seed=0).forward_passes("a.tif", read_input(path, cfgs[1]))


@pytest.mark.parametrize("training", [False, True])
def test_evaluation_of_one_tile_is_that_of_the_image(cfgs: tuple[CfgNode, CfgNode], dataset: Any, training: bool):
    model = build_model(cfgs[0]).train(training)
    whole, tiled = (evaluate(model, cfg, dataset, [0.05])[0] for cfg in cfgs)
    assert tiled.mask_ap == pytest.approx(whole.mask_ap)
    assert all(layer.training == training for layer in model.modules())


class Collector(DatasetEvaluator):
    """Keeps the scores of what it is to evaluate."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        self.scores += [round(score, 2) for one in outputs for score in one["instances"].scores.tolist()]

    def evaluate(self) -> dict[str, Any]:
        return {}


def object_of_two_scores(_: TiledDetector, inputs: TileInputs) -> list[TileDetection]:
    """A tile is unsure of an object that lies whole in it; the next one is sure of the part that it sees."""
    left, right, *_ = inputs.tiles
    whole, part = Mask.cut(10, 5, np.ones((20, 25), bool)), Mask.cut(right.x, 5, np.ones((20, 35 - right.x), bool))
    seen = (left, 0.1, whole), (right, 0.9, part)
    return [TileDetection(tile, 0, score, np.array(mask.bounds, float), mask) for tile, score, mask in seen]


def test_detections_are_joined_for_each_threshold(
    make_cfg: Callable[..., CfgNode], dataset: Any, monkeypatch: pytest.MonkeyPatch
):
    """Else a detection below the threshold takes the place of one above it, and the object is lost to both."""
    cfg, evaluators = make_cfg(tile_size=SIZE, tile_overlap=OVERLAP), [Collector(), Collector()]
    cfg.INPUT.TILE_SIZE = 40  # of images of SIZE
    monkeypatch.setattr("active_learning.network.evaluation.coco_evaluator", Mock(side_effect=evaluators))
    monkeypatch.setattr(TiledDetector, "_in_all_tiles", object_of_two_scores)
    evaluate(build_model(cfg).eval(), cfg, dataset, [0.5, 0.05])
    assert [set(one.scores) for one in evaluators] == [{0.9}, {0.1}]
    assert len(evaluators[0].scores) == len(evaluators[1].scores) == 7


def test_run_lengths_are_those_of_whole_masks():
    masks = [
        Mask.cut(3, 1, np.ones((4, 2), bool)),
        Mask.cut(0, 0, np.eye(9, dtype=bool)),
        Mask.cut(8, 8, np.ones((1, 1), bool)),
    ]
    found = Instances((9, 11), pred_masks=RunLengthMasks.of(masks, 9, 11), scores=torch.tensor([0.9, 0.1, 0.8]))
    kept = found[found.scores > 0.5].pred_masks
    assert [mask_util.area(one) for one in kept.run_lengths] == [8, 1]
    whole = mask_util.decode(found.pred_masks.run_lengths[1])
    assert whole.shape == (9, 11) and (whole[:, :9] == np.eye(9)).all()
