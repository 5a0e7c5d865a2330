from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from active_learning.network.evaluation import Scores, evaluate, scores_of
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances, PolygonMasks

SURE, UNSURE = 0.9, 0.3


class Oracle(nn.Module):
    """Detects exactly what is annotated: squares surely, discs unsurely; honours test_score_thresh."""

    def __init__(self, dataset, seen=("square", "disc")):
        super().__init__()
        self.roi_heads = nn.Module()
        self.roi_heads.box_predictor = nn.Module()
        self.roi_heads.box_predictor.test_score_thresh = 0.5
        self.truth = {record["image_id"]: record for record in DatasetCatalog.get(dataset)}
        self.seen = [("square", "disc").index(name) for name in seen]
        self.images = 0

    def forward(self, batch):
        self.images += len(batch)
        return [{"instances": self.detect(self.truth[inputs["image_id"]])} for inputs in batch]

    def detect(self, record):
        size = record["height"], record["width"]
        found = [a for a in record["annotations"] if a["category_id"] in self.seen]
        boxes = [[a["bbox"][0], a["bbox"][1], a["bbox"][0] + a["bbox"][2], a["bbox"][1] + a["bbox"][3]] for a in found]
        masks = [polygon_mask(a["segmentation"], *size) for a in found]
        classes = torch.tensor([a["category_id"] for a in found], dtype=torch.int64)
        instances = Instances(
            size,
            pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
            scores=torch.where(classes == 0, SURE, UNSURE),
            pred_classes=classes,
            pred_masks=torch.stack(masks) if masks else torch.zeros((0, *size), dtype=torch.bool),
        )
        return instances[instances.scores > self.roi_heads.box_predictor.test_score_thresh]


def polygon_mask(polygons, height, width):
    from detectron2.structures import polygons_to_bitmask

    return torch.from_numpy(polygons_to_bitmask(polygons, height, width).astype(bool))


def same(left: Scores, right: Scores):
    return left.mask_ap == pytest.approx(right.mask_ap, nan_ok=True) and left.per_class == pytest.approx(
        right.per_class, nan_ok=True
    )


def test_thresholds_are_scored_from_one_inference(make_cfg, dataset):
    model = Oracle(dataset)
    at_half, standard = evaluate(model, make_cfg(), dataset, [0.5, 0.05])
    assert model.images == 7
    assert same(standard, Scores(100.0, {"square": 100.0, "disc": 100.0, "never": math.nan}))
    assert same(at_half, Scores(50.0, {"square": 100.0, "disc": 0.0, "never": math.nan}))
    assert model.roi_heads.box_predictor.test_score_thresh == 0.5


def test_nothing_seen_is_an_ap_of_zero(make_cfg, dataset):
    (scores,) = evaluate(Oracle(dataset, seen=()), make_cfg(), dataset, [0.05])
    assert same(scores, Scores(0.0, {"square": 0.0, "disc": 0.0, "never": math.nan}))


def test_real_network_scores_are_the_same_alone_and_together(make_cfg, dataset):
    from detectron2.modeling import build_model

    cfg = make_cfg()
    model = build_model(cfg).eval()
    together = evaluate(model, cfg, dataset, [0.26, 0.05])
    alone = [evaluate(model, cfg, dataset, [threshold])[0] for threshold in (0.26, 0.05)]
    assert all(same(left, right) for left, right in zip(together, alone, strict=True))


def test_single_class_has_the_score_of_all():
    name = "one_class"
    DatasetCatalog.register(name, lambda: [{"annotations": [{"category_id": 0}]}])
    MetadataCatalog.get(name).thing_classes = ["square"]
    try:
        assert scores_of({"AP": 41.5}, name) == Scores(41.5, {"square": 41.5})
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_annotations_are_polygons(dataset):
    """The oracle above relies on it."""
    record = DatasetCatalog.get(dataset)[0]
    assert len(PolygonMasks([record["annotations"][0]["segmentation"]])) == 1
