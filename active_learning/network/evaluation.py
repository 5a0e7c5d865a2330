"""Mask AP of a network on a data set, at several score thresholds from one inference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from active_learning.network.image_faults import NamingLoader, evaluation_loader
from active_learning.network.inference_copy import for_inference
from active_learning.network.model_input import is_tiled
from active_learning.network.prediction import load_network
from active_learning.network.tiled_inference import TiledDetector
from active_learning.network.training_failures import failures_explained
from active_learning.system.log import logger
from active_learning.system.wording import counted
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, inference_context, inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.memory import retry_with_empty_cache

MOST_IN_TILES = 10**6  # detections of a large image, more than there are


@dataclass(frozen=True)
class Scores:
    """Mask AP (COCO, IoU 0.5 to 0.95) in percent, of all classes and of each; NaN where there is no ground truth."""

    mask_ap: float
    per_class: dict[str, float]


def evaluate_weights(cfg: CfgNode, weights: Path, dataset: str, thresholds: Sequence[float]) -> list[Scores]:
    """`evaluate` of the network of the config with these weights."""
    return evaluate(load_network(cfg, weights), cfg, dataset, thresholds)


def evaluate(model: nn.Module, cfg: CfgNode, dataset: str, thresholds: Sequence[float]) -> list[Scores]:
    """The scores of a registered data set, counting only detections above each of the thresholds.

    The network runs once, at the lowest threshold. That is exact: a detection is suppressed only by one that scores
    higher, and where detections are limited to a number, the highest stay. What is detected in tiles is joined for each
    threshold, so that an object counts as it would be pre-labelled. Several processes share the images; the scores are
    then the first one's alone, the others get none.

    Raises:
        MaskALError: names the image that cannot be read, or at which the network failed.
    """
    evaluators = _ForEachThreshold([coco_evaluator(cfg, dataset) for _ in thresholds], thresholds)
    loader = evaluation_loader(cfg, dataset, "testing")
    logger.info("Measuring the mAP on %s", counted(len(loader), "image"))
    with _score_threshold(model, min(thresholds)):
        results = run_inference(model, cfg, loader, evaluators, thresholds)
    if not comm.is_main_process():
        return []
    return [scores_of(results[str(index)].get("segm", {}), dataset) for index in range(len(thresholds))]


def coco_evaluator(cfg: CfgNode, dataset: str) -> COCOEvaluator:
    """Of boxes and masks; in large images more objects count than COCO's 100."""
    most = MOST_IN_TILES if is_tiled(cfg) else None
    return COCOEvaluator(dataset, tasks=("bbox", "segm"), max_dets_per_image=most)


def run_inference(
    model: nn.Module,
    cfg: CfgNode,
    loader: NamingLoader,
    evaluator: DatasetEvaluator,
    thresholds: Sequence[float] = (),
) -> dict[str, Any]:
    """What the evaluator finds of the model's detections in the loader's images; {} in processes without results.

    Args:
        thresholds: those that the evaluator counts detections above, beside that of the model.

    Raises:
        MaskALError: names the image that cannot be read, or at which the network failed.
    """
    with failures_explained(cfg, loader, training=False):
        network = for_inference(model, cfg)
        if is_tiled(cfg):
            network = TiledDetector(network, cfg, thresholds)
        with inference_context(network):
            return inference_on_dataset(retry_with_empty_cache(network), loader, evaluator)


def scores_of(segm: Mapping[str, float], dataset: str) -> Scores:
    """Scores from the `segm` results of COCOEvaluator.

    Detectron2 gives NaN both where nothing is to be found and where nothing was found; the latter is an AP of 0.
    """
    classes = MetadataCatalog.get(dataset).thing_classes
    annotations = (a for record in DatasetCatalog.get(dataset) for a in record["annotations"])
    present = {annotation["category_id"] for annotation in annotations}

    def score(key: str, is_there: bool) -> float:
        value = segm.get(key, math.nan)
        return math.nan if not is_there else 0.0 if math.isnan(value) else float(value)

    # With a single class Detectron2 gives no AP by class.
    keys = ["AP"] if len(classes) == 1 else [f"AP-{name}" for name in classes]
    per_class = {name: score(keys[index], index in present) for index, name in enumerate(classes)}
    return Scores(score("AP", bool(present)), per_class)


class _ForEachThreshold(DatasetEvaluator):
    """Hands each evaluator the detections above its threshold; results: index -> the evaluator's results."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator], thresholds: Sequence[float]) -> None:
        self._pairs = list(zip(evaluators, thresholds, strict=True))

    def reset(self) -> None:
        for evaluator, _ in self._pairs:
            evaluator.reset()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        # Masks leave the GPU once; they are on the CPU already where they were pasted there for want of memory.
        found = [(out["instances"].to("cpu"), out.get("joined_above", {})) for out in outputs]
        for evaluator, threshold in self._pairs:
            above = (joined.get(threshold, one[one.scores > threshold]) for one, joined in found)
            evaluator.process(inputs, [{"instances": one} for one in above])

    def evaluate(self) -> dict[str, Any]:
        return {str(index): evaluator.evaluate() for index, (evaluator, _) in enumerate(self._pairs)}


@contextmanager
def _score_threshold(model: nn.Module, threshold: float) -> Iterator[None]:
    """Inside, every stage's predictor detects above this score; a cascade has several."""
    predictors: list[Any] = [layer for layer in model.modules() if hasattr(layer, "test_score_thresh")]
    before = [predictor.test_score_thresh for predictor in predictors]
    for predictor in predictors:
        predictor.test_score_thresh = threshold
    try:
        yield
    finally:
        for predictor, own in zip(predictors, before, strict=True):
            predictor.test_score_thresh = own
