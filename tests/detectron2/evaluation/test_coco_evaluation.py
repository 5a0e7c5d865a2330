from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, instances_to_coco_json
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

_HEIGHT, _WIDTH = 120, 160
_CATEGORY_IDS = (2, 5, 9, 11)
_METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl"]

Predictions = list[tuple[dict[str, Any], dict[str, Any]]]


def _ground_truth(seed: int, images: int) -> dict[str, Any]:
    """Random rectangles, some of them crowds; nothing of the last class, some images empty."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(rng.integers(0, 6)):
            x, y = int(rng.integers(0, _WIDTH - 4)), int(rng.integers(0, _HEIGHT - 4))
            w, h = (int(v) for v in np.minimum(rng.integers(4, 110, 2), [_WIDTH - x, _HEIGHT - y]))
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            crowd = bool(rng.random() < 0.1)
            annotation = {"id": len(annotations) + 1, "image_id": image + 3, "bbox": [x, y, w, h], "area": w * h}
            annotation["category_id"] = int(rng.choice(_CATEGORY_IDS[:3]))
            annotation["segmentation"] = _uncompressed(x, y, w, h) if crowd else [polygon]
            annotations.append({**annotation, "iscrowd": int(crowd)})
    return {
        "images": [{"id": i + 3, "file_name": f"{i}.png", "height": _HEIGHT, "width": _WIDTH} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": number, "name": f"class{number}"} for number in _CATEGORY_IDS],
    }


def _uncompressed(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    mask = np.zeros((_HEIGHT, _WIDTH), bool)
    mask[y : y + h, x : x + w] = True
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": [_HEIGHT, _WIDTH], "counts": np.diff([0, *edges, len(flat)]).tolist()}


def _instances(boxes: list[list[float]], scores: list[float], classes: list[int], masks: bool = True) -> Instances:
    instances = Instances((_HEIGHT, _WIDTH))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(scores, dtype=torch.float32)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if masks:
        instances.pred_masks = torch.zeros(len(boxes), _HEIGHT, _WIDTH, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(instances.pred_masks, boxes, strict=True):
            mask[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = True
    return instances


def _random_predictions(truth: dict[str, Any], seed: int) -> Predictions:
    """Near the ground truth or anywhere; scores with ties."""
    rng = np.random.default_rng(seed + 100)
    predictions = []
    for image in truth["images"]:
        known = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes, classes = [], []
        for _ in range(rng.integers(0, 14)):
            near = known[rng.integers(len(known))] if known and rng.random() < 0.7 else None
            x, y, w, h = near["bbox"] if near else rng.uniform(2, 60, 4)
            x0, y0 = np.clip(np.array([x, y]) + rng.normal(0, 3, 2), 0, [_WIDTH - 2, _HEIGHT - 2])
            x1, y1 = np.clip([x + w, y + h] + rng.normal(0, 3, 2), [x0 + 1, y0 + 1], [_WIDTH, _HEIGHT])
            boxes.append([float(x0), float(y0), float(x1), float(y1)])
            right = near is not None and rng.random() < 0.9
            classes.append(_CATEGORY_IDS.index(near["category_id"]) if right else int(rng.integers(4)))
        scores = np.round(rng.random(len(boxes)), 1).tolist()
        predictions.append(({"image_id": image["id"]}, {"instances": _instances(boxes, scores, classes)}))
    return predictions


def _perfect_predictions(truth: dict[str, Any]) -> Predictions:
    predictions = []
    for image in truth["images"]:
        known = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes = [BoxMode.convert(a["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for a in known]
        classes = [_CATEGORY_IDS.index(a["category_id"]) for a in known]
        instances = _instances([list(map(float, b)) for b in boxes], [0.9] * len(known), classes)
        predictions.append(({"image_id": image["id"]}, {"instances": instances}))
    return predictions


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], str]]:
    names = []

    def make(truth: dict[str, Any]) -> str:
        name = f"test_coco_evaluation_{len(names)}"
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(truth), encoding="utf-8")
        register_coco_instances(name, {}, path, tmp_path)
        DatasetCatalog.get(name)
        names.append(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def _evaluate(evaluator: COCOEvaluator, predictions: Predictions, **arguments: Any) -> dict[str, dict[str, float]]:
    evaluator.reset()
    for one_input, output in predictions:
        evaluator.process([one_input], [output])
    return evaluator.evaluate(**arguments)


@pytest.mark.parametrize("max_dets", [None, 1, 3, 200])
@pytest.mark.parametrize(("seed", "images"), [(0, 1), (1, 8), (2, 25)])
def test_equal_to_pycocotools(register: Callable, seed: int, images: int, max_dets: int | None) -> None:
    truth = _ground_truth(seed, images)
    name = register(truth)
    predictions = _random_predictions(truth, seed)
    fast, reference = (
        _evaluate(COCOEvaluator(name, max_dets_per_image=max_dets, use_fast_impl=use), predictions)
        for use in (True, False)
    )
    assert list(fast) == ["bbox", "segm"]
    for task, metrics in fast.items():
        assert list(metrics) == [*_METRICS, *(f"AP-class{number}" for number in _CATEGORY_IDS)]
        np.testing.assert_allclose(list(metrics.values()), list(reference[task].values()), atol=1e-6, rtol=0)
        assert math.isnan(metrics["AP-class11"])


def test_perfect_predictions(register: Callable) -> None:
    truth = _ground_truth(4, 20)
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 0
    without_truth = {"AP-class11"}
    if not any(annotation["area"] > 96**2 for annotation in truth["annotations"]):
        without_truth.add("APl")
    results = _evaluate(COCOEvaluator(register(truth)), _perfect_predictions(truth))
    for metrics in results.values():
        assert {name for name, value in metrics.items() if math.isnan(value)} == without_truth
        assert all(metrics[name] == pytest.approx(100, abs=1e-3) for name in metrics.keys() - without_truth)


@pytest.mark.parametrize("fast", [True, False], ids=["faster-coco-eval", "pycocotools"])
@pytest.mark.parametrize("first", [0, 1, -3])
def test_ids_of_annotations_change_nothing(register: Callable, fast: bool, first: int) -> None:
    """COCO's own evaluation takes the object of id 0 for one that is not found, though it is."""
    truth = _ground_truth(3, 4)
    predictions = _perfect_predictions(truth)
    for number, annotation in enumerate(truth["annotations"], start=first):
        annotation["id"] = number
    results = _evaluate(COCOEvaluator(register(truth), use_fast_impl=fast), predictions)
    assert [results[task]["AP"] for task in ("bbox", "segm")] == pytest.approx([100, 100])


def test_evaluating_again_gives_the_same(register: Callable) -> None:
    truth = _ground_truth(1, 8)
    evaluator = COCOEvaluator(register(truth))
    first = _evaluate(evaluator, _random_predictions(truth, 1))
    assert str(evaluator.evaluate()) == str(first)
    assert str(_evaluate(evaluator, _random_predictions(truth, 1))) == str(first)


def test_images_can_be_chosen(register: Callable) -> None:
    truth = _ground_truth(1, 8)
    evaluator = COCOEvaluator(register(truth))
    perfect, anything = _perfect_predictions(truth), _random_predictions(truth, 1)
    results = _evaluate(evaluator, perfect[:4] + anything[4:], img_ids=[3, 4, 5, 6])
    assert results["bbox"]["AP"] == pytest.approx(100, abs=1e-3)
    assert evaluator.evaluate()["bbox"]["AP"] < 99


def test_without_any_prediction_all_is_nan(register: Callable) -> None:
    truth = _ground_truth(1, 3)
    nothing = [(i, {"instances": _instances([], [], [])}) for i, _ in _random_predictions(truth, 1)]
    results = _evaluate(COCOEvaluator(register(truth)), nothing)
    assert list(results) == ["bbox", "segm"]
    assert [list(metrics) for metrics in results.values()] == [_METRICS, _METRICS]
    assert all(math.isnan(value) for metrics in results.values() for value in metrics.values())


def test_images_without_ground_truth_count_false_positives(register: Callable) -> None:
    truth = _ground_truth(1, 8)
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 0
    truth["images"].append({"id": 99, "file_name": "empty.png", "height": _HEIGHT, "width": _WIDTH})
    perfect = _perfect_predictions(truth)
    evaluator = COCOEvaluator(register(truth))
    assert _evaluate(evaluator, perfect)["bbox"]["AP-class2"] == pytest.approx(100, abs=1e-3)
    perfect[-1] = ({"image_id": 99}, {"instances": _instances([[5, 5, 50, 50]], [0.99], [0])})
    results = _evaluate(evaluator, perfect)
    assert results["bbox"]["AP-class2"] < 99
    assert results["bbox"]["AP-class5"] == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize(
    ("masks", "tasks", "expected"),
    [(True, None, ["bbox", "segm"]), (False, None, ["bbox"]), (True, ["bbox"], ["bbox"]), (True, ("segm",), ["segm"])],
)
def test_tasks(register: Callable, masks: bool, tasks: Any, expected: list[str]) -> None:
    truth = _ground_truth(1, 1)
    predictions: Predictions = [({"image_id": 3}, {"instances": _instances([[1, 1, 9, 9]], [0.5], [0], masks)})]
    assert list(_evaluate(COCOEvaluator(register(truth), tasks), predictions)) == expected


def test_proposals_have_average_recalls(register: Callable) -> None:
    """An object of each size; proposals of IoU 1, 0.5 and 0.8 with them, the last past the smaller limit."""
    truth = _ground_truth(1, 2)
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40], [10, 10, 100, 100]]
    truth["annotations"] = [
        {"id": i + 1, "image_id": 3, "category_id": 2 + 3 * (i % 2), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    truth["annotations"].append({**truth["annotations"][0], "id": 9, "bbox": [100, 50, 9, 9], "iscrowd": 1})
    proposed = [[0, 0, 10, 10], [20, 20, 60, 40], [20, 20, 60, 39], *[[150, 100, 155, 105]] * 98, [10, 10, 110, 90]]
    proposals = Instances((_HEIGHT, _WIDTH), proposal_boxes=Boxes(torch.tensor(proposed, dtype=torch.float32)))
    proposals.objectness_logits = -torch.arange(len(proposed), dtype=torch.float32)
    shuffled = proposals[torch.randperm(len(proposals))]
    predictions = [({"image_id": 3}, {"proposals": shuffled}), ({"image_id": 4}, {"proposals": proposals[:0]})]
    results = _evaluate(COCOEvaluator(register(truth)), predictions)
    expected = {
        "AR@100": 100 * (1 + 0.1 + 0) / 3,
        "ARs@100": 100.0,
        "ARm@100": 10.0,
        "ARl@100": 0.0,
        "AR@1000": 100 * (1 + 0.1 + 0.7) / 3,
        "ARs@1000": 100.0,
        "ARm@1000": 10.0,
        "ARl@1000": 70.0,
    }
    assert list(results) == ["box_proposals"]
    assert results["box_proposals"] == pytest.approx(expected, abs=1e-3)


def test_proposals_without_objects_and_beside_instances(register: Callable) -> None:
    truth = _ground_truth(1, 1)
    truth["annotations"] = []
    proposals = Instances((_HEIGHT, _WIDTH), proposal_boxes=Boxes(torch.ones(2, 4)), objectness_logits=torch.ones(2))
    output = {"proposals": proposals, "instances": _instances([[1, 1, 9, 9]], [0.5], [0], masks=False)}
    results = _evaluate(COCOEvaluator(register(truth)), [({"image_id": 3}, output)])
    assert list(results) == ["box_proposals", "bbox"]
    assert all(math.isnan(value) for value in results["box_proposals"].values())


def test_one_class_has_no_row_of_its_own(register: Callable) -> None:
    truth = _ground_truth(1, 4)
    truth["categories"] = truth["categories"][:1]
    for annotation in truth["annotations"]:
        annotation["category_id"] = 2
    results = _evaluate(COCOEvaluator(register(truth)), _perfect_predictions(truth))
    assert list(results["bbox"]) == _METRICS


def test_files(register: Callable, tmp_path: Path) -> None:
    truth = _ground_truth(1, 2)
    output = tmp_path / "inference"
    _evaluate(COCOEvaluator(register(truth), output_dir=str(output)), _random_predictions(truth, 1))
    written = json.loads((output / "coco_instances_results.json").read_text(encoding="utf-8"))
    images = torch.load(output / "instances_predictions.pth", weights_only=True)
    assert {path.name for path in output.iterdir()} == {"coco_instances_results.json", "instances_predictions.pth"}
    assert [image["image_id"] for image in images] == [3, 4]
    assert len(written) == sum(len(image["instances"]) for image in images)
    assert {result["category_id"] for result in written} <= set(_CATEGORY_IDS)


def test_dataset_without_json_is_converted(tmp_path: Path) -> None:
    name = "test_coco_evaluation_plain"
    box = {"bbox": [10, 10, 50, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    record = {"file_name": "a.png", "image_id": 7, "height": _HEIGHT, "width": _WIDTH, "annotations": [box]}
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).thing_classes = ["a", "b"]
    try:
        with pytest.raises(ValueError, match="output_dir"):
            COCOEvaluator(name)
        evaluator = COCOEvaluator(name, ["bbox"], output_dir=str(tmp_path))
        found = [({"image_id": 7}, {"instances": _instances([[10, 10, 50, 50]], [0.5], [1], masks=False)})]
        assert _evaluate(evaluator, found)["bbox"]["AP-b"] == pytest.approx(100, abs=1e-3)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_predictions_of_all_processes_are_gathered(register: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = _ground_truth(1, 8)
    name = register(truth)
    predictions = _random_predictions(truth, 1)
    whole = _evaluate(COCOEvaluator(name), predictions)
    parts: list[Any] = []
    monkeypatch.setattr(comm, "gather", lambda data, dst: (parts.append(data), [])[1])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert _evaluate(COCOEvaluator(name), predictions[4:]) == {}
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, *parts])
    monkeypatch.setattr(comm, "is_main_process", lambda: True)
    assert str(_evaluate(COCOEvaluator(name), predictions[:4])) == str(whole)


def test_no_image_gives_no_results(register: Callable) -> None:
    assert _evaluate(COCOEvaluator(register(_ground_truth(1, 2))), []) == {}


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"tasks": ["keypoints"]}, ValueError, "keypoints"),
        ({"kpt_oks_sigmas": [0.1]}, NotImplementedError, "keypoints"),
    ],
    ids=["task", "sigmas"],
)
def test_what_is_not_supported_is_reported(register: Callable, arguments: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        COCOEvaluator(register(_ground_truth(1, 1)), **arguments)


def test_class_that_the_dataset_does_not_have(register: Callable) -> None:
    predictions: Predictions = [({"image_id": 3}, {"instances": _instances([[1, 1, 9, 9]], [0.5], [4])})]
    with pytest.raises(ValueError, match=r"\[4\].*4 classes"):
        _evaluate(COCOEvaluator(register(_ground_truth(1, 1))), predictions)


def test_ground_truth_without_area(register: Callable) -> None:
    truth = _ground_truth(1, 1)
    del truth["annotations"][0]["area"]
    with pytest.raises(ValueError, match=r"annotation 1 has no 'area'"):
        COCOEvaluator(register(truth))


def test_json_of_instances() -> None:
    instances = _instances([[1, 2, 5, 8], [0, 0, 160, 120]], [0.25, 0.75], [3, 1])
    first, second = instances_to_coco_json(instances, 7)
    assert {k: v for k, v in first.items() if k != "segmentation"} == {
        "image_id": 7,
        "category_id": 3,
        "bbox": [1, 2, 4, 6],
        "score": 0.25,
    }
    for result, mask in zip((first, second), instances.pred_masks, strict=True):
        json.dumps(result)
        np.testing.assert_array_equal(mask_util.decode(result["segmentation"]), mask.numpy())
    assert instances_to_coco_json(_instances([], [], []), 7) == []
