"""Time of COCO evaluation of boxes and masks, beside pycocotools, of the same predictions in one run.

    python benchmarks/evaluation.py [--engine FOLDER] [--pairs N]

`COCOEvaluator` is what a training calls; what it takes longer than faster-coco-eval alone is copying.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Call, compare

IMAGES, OBJECTS, CLASSES, HEIGHT, WIDTH = 5_000, 8, 10, 120, 160
PAIRS = 1  # pycocotools takes minutes
TASKS = ("bbox", "segm")


def ellipse(centre: Any, axes: Any) -> dict[str, Any]:
    """Box, area and run lengths of a filled ellipse."""
    from pycocotools import mask as coco_mask

    y, x = np.ogrid[:HEIGHT, :WIDTH]
    inside = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 <= 1
    runs = coco_mask.encode(np.asfortranarray(inside, dtype=np.uint8))
    box, area = coco_mask.toBbox(runs).tolist(), int(coco_mask.area(runs))
    runs["counts"] = runs["counts"].decode("ascii")
    return {"bbox": box, "area": area, "segmentation": runs}


@functools.cache
def drawn() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth, and predictions: most objects found, shifted, some by the wrong class, some that are not there."""
    rng = np.random.default_rng(0)
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, IMAGES + 1):
        for _ in range(OBJECTS):
            centre, axes = rng.uniform((20, 20), (WIDTH - 20, HEIGHT - 20)), rng.uniform(3, 40, 2)
            label = int(rng.integers(1, CLASSES + 1))
            common = {"image_id": image, "category_id": label}
            objects.append({"id": len(objects) + 1, "iscrowd": 0, **common, **ellipse(centre, axes)})
            seen = ellipse(centre + rng.normal(0, 3, 2), axes * rng.uniform(0.8, 1.2, 2))
            guess = label if rng.random() < 0.8 else int(rng.integers(1, CLASSES + 1))
            seen.pop("area")
            found.append({"image_id": image, "category_id": guess, "score": float(rng.random()), **seen})
    truth = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"} for i in range(1, IMAGES + 1)],
        "annotations": objects,
        "categories": [{"id": i, "name": f"class{i}"} for i in range(1, CLASSES + 1)],
    }
    return truth, found


def results_of(task: str) -> list[dict[str, Any]]:
    """The predictions of one task, copied: an evaluation adds to them, and takes a mask's area from its box."""
    return [{k: v for k, v in one.items() if task == "bbox" or k != "bbox"} for one in drawn()[1]]


def engine_evaluation(device: str) -> Call:
    import torch
    from pycocotools import mask as coco_mask

    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.evaluation import COCOEvaluator
    from detectron2.structures import Boxes, Instances

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    file = Path(folder.name) / "truth.json"
    file.write_text(json.dumps(drawn()[0]), encoding="utf-8")
    register_coco_instances("drawn", {}, str(file), folder.name)
    classes = range(1, CLASSES + 1)
    MetadataCatalog.get("drawn").set(
        thing_classes=[f"class{i}" for i in classes], thing_dataset_id_to_contiguous_id={i: i - 1 for i in classes}
    )
    evaluator = COCOEvaluator("drawn", tasks=TASKS, distributed=False)
    evaluator.reset()
    for start in range(0, len(drawn()[1]), OBJECTS):
        own = drawn()[1][start : start + OBJECTS]
        corners = torch.tensor([one["bbox"] for one in own])
        corners[:, 2:] += corners[:, :2]
        seen = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(corners), scores=torch.tensor([one["score"] for one in own]))
        seen.pred_classes = torch.tensor([one["category_id"] - 1 for one in own])
        seen.pred_masks = torch.as_tensor(coco_mask.decode([one["segmentation"] for one in own]).transpose(2, 0, 1) > 0)
        evaluator.process([{"image_id": own[0]["image_id"]}], [{"instances": seen}])

    def evaluate() -> list[float]:
        results = evaluator.evaluate()
        return [results[task][name] / 100 for task in TASKS for name in ("AP", "AP50", "AP75")]

    return evaluate


def fast_evaluation(device: str) -> Call:
    from faster_coco_eval import COCO, COCOeval_faster

    truth = copy.deepcopy(drawn()[0])  # it changes what it is given
    return lambda: _averages(lambda: COCO(truth), COCOeval_faster)


def reference_evaluation(device: str) -> Call:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def truth() -> Any:
        reference = COCO()
        reference.dataset = copy.deepcopy(drawn()[0])  # it cannot work on what it changed
        reference.createIndex()
        return reference

    return lambda: _averages(truth, COCOeval)


def _averages(make_truth: Any, kind: Any) -> list[float]:
    """AP, AP50 and AP75 of boxes and masks."""
    averages = []
    with contextlib.redirect_stdout(io.StringIO()):
        for task in TASKS:
            truth = make_truth()
            evaluation = kind(truth, truth.loadRes(results_of(task)), task)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            averages += [float(value) for value in evaluation.stats[:3]]
    return averages


def main() -> None:
    averages: dict[str, list[float]] = {}

    def keeping(name: str, make_ready: Callable[[str], Call]) -> Callable[[str], Call]:
        def ready(device: str) -> Call:
            evaluate = make_ready(device)
            return lambda: averages.update({name: evaluate()})

        return ready

    peers = {
        "COCOEvaluator": engine_evaluation,
        "faster-coco-eval alone": fast_evaluation,
        "pycocotools": reference_evaluation,
    }
    title = f"COCO evaluation of boxes and masks, {IMAGES} images with {OBJECTS} objects of {CLASSES} classes"
    if compare(title, __doc__, {name: keeping(name, make) for name, make in peers.items()}, IMAGES, PAIRS):
        difference = np.abs(np.subtract(averages["COCOEvaluator"], averages["pycocotools"])).max()
        print(f"Largest difference of AP, AP50 and AP75 (0 to 1) from pycocotools: {difference:.1g}\n")


if __name__ == "__main__":
    main()
