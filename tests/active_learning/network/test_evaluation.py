from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError
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


def test_a_cascade_has_a_threshold_in_each_stage(make_cfg, dataset, network_file, tmp_path):
    from detectron2.modeling import build_model

    cascade = "MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}, ROI_BOX_HEAD: {CLS_AGNOSTIC_BBOX_REG: True}}\n"
    (tmp_path / "cascade.yaml").write_text(f"_BASE_: {network_file}\n{cascade}", encoding="utf-8")
    cfg = make_cfg(network_config=str(tmp_path / "cascade.yaml"))
    model = build_model(cfg).eval()
    assert len(evaluate(model, cfg, dataset, [0.26, 0.05])) == 2
    assert {predictor.test_score_thresh for predictor in model.roi_heads.box_predictor} == {0.2}


class Forgetful(Oracle):
    """The GPU is full the first `failures` times; masks are then on another device than the scores."""

    def __init__(self, dataset, failures):
        super().__init__(dataset)
        self.failures = failures

    def forward(self, batch):
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return super().forward(batch)


def test_a_full_gpu_is_survived_once_an_image(make_cfg, dataset):
    (scores,) = evaluate(Forgetful(dataset, 1), make_cfg(), dataset, [0.05])
    assert same(scores, Scores(100.0, {"square": 100.0, "disc": 100.0, "never": math.nan}))


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ({"DEVICE": "cuda", "precision": "fp32"}, "set precision: amp"),
        ({"DEVICE": "cuda", "precision": "amp"}, "lower image_max_size"),
        ({"precision": "fp32"}, "lower image_max_size from 1333 to 999 and image_min_size from 64 to 48"),
    ],
)
def test_an_image_too_large_for_the_gpu_is_named_with_the_setting(make_cfg, dataset, monkeypatch, keys, remedy):
    device = keys.pop("DEVICE", "cpu")
    cfg = make_cfg(**keys)
    cfg.MODEL.DEVICE = device
    monkeypatch.setattr("active_learning.network.evaluation.for_inference", lambda model, _: model)
    with pytest.raises(MaskALError, match=rf"CUDA out of memory in evaluation at 0\.png\. .*: {remedy}"):
        evaluate(Forgetful(dataset, 9), cfg, dataset, [0.05])


class OnTheGpu:
    """Instances of a GPU whose masks were pasted on the CPU; only `to` brings them together."""

    def __init__(self, found):
        self.found = found

    def to(self, device):
        assert device == "cpu"
        return self.found


def test_masks_that_were_pasted_on_the_cpu_are_scored(make_cfg, dataset, monkeypatch):
    detect = Oracle.detect
    monkeypatch.setattr(Oracle, "detect", lambda self, record: OnTheGpu(detect(self, record)))
    (scores,) = evaluate(Oracle(dataset), make_cfg(), dataset, [0.05])
    assert scores.mask_ap == 100.0


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
