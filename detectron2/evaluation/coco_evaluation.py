"""Average precision as COCO defines it, for boxes and masks.

The definition is that of pycocotools; faster-coco-eval computes the same numbers, faster.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util
import torch
from faster_coco_eval import COCO, COCOeval_faster

from detectron2.config import CfgNode
from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.evaluation.box_proposals import average_recalls
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.errors import InputError
from detectron2.utils.file_io import PathManager, write_whole
from detectron2.utils.logger import create_class_table, create_small_table

__all__ = ["COCOEvaluator", "instances_to_coco_json"]

logger = logging.getLogger(__name__)

# Of the evaluation's axes: IoU thresholds 0.50, 0.55, ..., 0.95; areas all, small, medium, large.
_ALL = slice(None)
_METRICS: dict[str, tuple[Any, int]] = {
    "AP": (_ALL, 0),
    "AP50": (0, 0),
    "AP75": (5, 0),
    "APs": (_ALL, 1),
    "APm": (_ALL, 2),
    "APl": (_ALL, 3),
}
_TASKS = ("bbox", "segm")


class COCOEvaluator(DatasetEvaluator):
    """AP, AP50, AP75, APs, APm, APl, and with two classes or more AP-<class>, in percent, of boxes and masks.

    Of proposals, which a ProposalNetwork gives, the average recalls (see :func:`average_recalls`) as "box_proposals".
    NaN where there is no ground truth. A task without any prediction has the first six only, all NaN.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set. Without "json_file" in its metadata it is converted to COCO's format,
                which needs `output_dir`.
            tasks: of "bbox" and "segm"; None takes those that the model predicts.
            distributed: collect the predictions of all processes; else each process evaluates its own.
            output_dir: folder to keep the predictions in (instances_predictions.pth, coco_instances_results.json).
            max_dets_per_image: how many of an image's detections count, by score, for each class; None: 100.
            use_fast_impl: use faster-coco-eval, else pycocotools; the numbers are equal.
            allow_cached_coco: use a converted json file that is already in `output_dir`.
        """
        if kpt_oks_sigmas:
            raise NotImplementedError("keypoints are not supported: leave kpt_oks_sigmas empty")
        if isinstance(tasks, CfgNode):
            logger.warning("COCOEvaluator takes no config any more; the tasks are those that the model predicts")
            tasks = None
        unknown = set(tasks or ()) - set(_TASKS)
        if unknown:
            raise ValueError(f"unknown tasks {sorted(unknown)}: COCOEvaluator knows {', '.join(_TASKS)}")
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._max_dets = [1, 10, 100 if max_dets_per_image is None else max_dets_per_image]
        self._use_fast_impl = use_fast_impl
        self._metadata = MetadataCatalog.get(dataset_name)
        self._ground_truth = _read_ground_truth(self._json_file(dataset_name, allow_cached_coco))
        self._predictions: list[dict] = []
        self._masks_seen = False

    def _json_file(self, dataset_name: str, allow_cached: bool) -> str:
        json_file = self._metadata.get("json_file")
        if json_file is not None:
            return json_file
        if self._output_dir is None:
            raise InputError(
                f"data set '{dataset_name}' has no json file: give COCOEvaluator an output_dir to write one"
            )
        json_file = str(self._output_dir / f"{dataset_name}_coco_format.json")
        convert_to_coco_json(dataset_name, json_file, allow_cached=allow_cached)
        self._metadata.json_file = json_file
        return json_file

    def reset(self) -> None:
        self._predictions = []
        self._masks_seen = False

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep what `outputs` have, by their "image_id".

        That is "instances", as :func:`instances_to_coco_json` takes them, and "proposals", with proposal_boxes and
        objectness_logits.
        """
        for one_input, output in zip(inputs, outputs, strict=True):
            kept: dict[str, Any] = {"image_id": one_input["image_id"]}
            if "instances" in output:
                instances = output["instances"]
                self._masks_seen = self._masks_seen or instances.has("pred_masks")
                kept["instances"] = instances_to_coco_json(instances, kept["image_id"])
            if "proposals" in output:
                proposals = output["proposals"].to("cpu")
                order = proposals.objectness_logits.argsort(descending=True, stable=True)
                kept["proposals"] = proposals.proposal_boxes.tensor[order]
            self._predictions.append(kept)

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """Results {"bbox": {metric: value}, "segm": ..., "box_proposals": ...} in the main process, {} in the others.

        `img_ids` None is all images of the data set, also those without predictions.
        """
        predictions, masks_seen = self._gather()
        if not comm.is_main_process() and self._distributed:
            return {}
        if not predictions:
            logger.warning("COCOEvaluator got no image to evaluate")
            return {}
        self._save("instances_predictions.pth", predictions)
        detected = [image for image in predictions if "instances" in image]
        found = self._with_dataset_ids(detected)
        if detected:
            self._save("coco_instances_results.json", found)
        if "annotations" not in self._ground_truth:
            logger.info("The data set has no annotations; only the predictions are kept")
            return {}
        proposed = [image for image in predictions if "proposals" in image]
        results = {"box_proposals": self._evaluate_proposals(proposed)} if proposed else {}
        tasks = self._tasks or (_TASKS if masks_seen else _TASKS[:1])
        return results | {task: self._evaluate_task(task, found, img_ids) for task in tasks if detected}

    def _gather(self) -> tuple[list[dict], bool]:
        if not self._distributed:
            return self._predictions, self._masks_seen
        comm.synchronize()
        gathered = comm.gather((self._predictions, self._masks_seen), dst=0)
        predictions = list(itertools.chain.from_iterable(part for part, _ in gathered))
        return predictions, any(masks_seen for _, masks_seen in gathered)

    def _save(self, name: str, content: list[dict]) -> None:
        if self._output_dir is None:
            return
        self._output_dir.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            write_whole(self._output_dir / name, lambda file: file.write_text(json.dumps(content), encoding="utf-8"))
        else:
            write_whole(self._output_dir / name, lambda file: torch.save(content, file))

    def _with_dataset_ids(self, predictions: list[dict]) -> list[dict]:
        """All results of all images in one list, with the data set's own category ids."""
        contiguous_id = self._metadata.get("thing_dataset_id_to_contiguous_id")
        found = [result for image in predictions for result in image["instances"]]
        if contiguous_id is None:
            return found
        dataset_id = {contiguous: original for original, contiguous in contiguous_id.items()}
        unknown = {result["category_id"] for result in found} - dataset_id.keys()
        if unknown:
            raise InputError(
                f"the model predicts the classes {sorted(unknown)}, but data set '{self._metadata.name}' has "
                f"{len(dataset_id)} classes, numbered from 0: does MODEL.ROI_HEADS.NUM_CLASSES fit?"
            )
        return [{**result, "category_id": dataset_id[result["category_id"]]} for result in found]

    def _class_names(self, category_ids: Sequence[int]) -> list[str]:
        names = self._metadata.get("thing_classes")
        if names is None:
            names_by_id = {category["id"]: category["name"] for category in self._ground_truth["categories"]}
            return [names_by_id[number] for number in category_ids]
        contiguous_id = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if contiguous_id is None:
            contiguous_id = {number: index for index, number in enumerate(category_ids)}
        return [names[contiguous_id[number]] for number in category_ids]

    def _evaluate_proposals(self, images: list[dict]) -> dict[str, float]:
        objects: dict[Any, list[dict]] = defaultdict(list)
        for annotation in self._ground_truth["annotations"]:
            if not annotation.get("iscrowd", 0):
                objects[annotation["image_id"]].append(annotation)
        pairs = []
        for image in images:
            own = objects[image["image_id"]]
            boxes = torch.tensor([annotation["bbox"] for annotation in own], dtype=torch.float32).reshape(-1, 4)
            areas = torch.tensor([annotation["area"] for annotation in own], dtype=torch.float32)
            truth = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
            pairs.append((Boxes(image["proposals"]), truth, areas))
        results = average_recalls(pairs)
        logger.info("Evaluation results for box_proposals:\n%s", create_small_table(results))
        return results

    def _evaluate_task(self, task: str, found: list[dict], img_ids: Sequence[int] | None) -> dict[str, float]:
        category_ids = sorted(category["id"] for category in self._ground_truth["categories"])
        class_names = self._class_names(category_ids)
        if found:
            evaluate = _fast_evaluation if self._use_fast_impl else _reference_evaluation
            # With a box, a mask's area would be taken from the box. Copied: the evaluation adds keys.
            own = [{k: v for k, v in result.items() if task == "bbox" or k != "bbox"} for result in found]
            # pycocotools prints its progress.
            with contextlib.redirect_stdout(io.StringIO()):
                precision = _precision_of(evaluate(self._ground_truth, own, task), self._max_dets, img_ids)
        else:
            logger.warning("No predictions from the model: every %s metric is nan", task)
            precision = np.full((10, 101, len(category_ids), 4), -1.0)
        results = {name: _percent(precision[ious, :, :, area]) for name, (ious, area) in _METRICS.items()}
        logger.info("Evaluation results for %s:\n%s", task, create_small_table(results))
        if any(np.isnan(value) for value in results.values()):
            logger.info("Some metrics cannot be computed and are shown as NaN.")
        if found and len(class_names) > 1:
            by_class = {name: _percent(precision[:, :, index, 0]) for index, name in enumerate(class_names)}
            table = create_class_table(by_class.items(), "AP", floatfmt=".3f")
            logger.info("Per-category %s AP:\n%s", task, table)
            results.update({f"AP-{name}": value for name, value in by_class.items()})
        return results


def _read_ground_truth(json_file: str) -> dict[str, Any]:
    path = Path(PathManager.get_local_path(json_file))
    ground_truth = json.loads(path.read_bytes())
    for number, annotation in enumerate(ground_truth.get("annotations", ()), start=1):
        if "area" not in annotation:
            raise ValueError(f"{json_file}: annotation {annotation.get('id')} has no 'area', which evaluation needs")
        annotation["id"] = number  # an object of id 0 would count as not found: 0 also means "no match" there
    return ground_truth


def _percent(precision: np.ndarray) -> float:
    """Mean in percent of all entries above -1, which means "no ground truth"."""
    there = precision[precision > -1]
    return float(there.mean() * 100) if there.size else float("nan")


def _fast_evaluation(ground_truth: dict, found: list[dict], task: str) -> Any:
    truth = COCO(ground_truth)
    return COCOeval_faster(truth, truth.loadRes(found), task, print_function=logger.debug)


def _reference_evaluation(ground_truth: dict, found: list[dict], task: str) -> Any:
    from pycocotools import coco, cocoeval

    truth = coco.COCO()
    # Copied: it replaces the polygons by run lengths.
    truth.dataset = copy.deepcopy(ground_truth)
    truth.createIndex()
    return cocoeval.COCOeval(truth, truth.loadRes(found), task)


def _precision_of(evaluation: Any, max_dets: list[int], img_ids: Sequence[int] | None) -> np.ndarray:
    """Precision by IoU threshold (10), recall (101), class and area (4); -1: no ground truth."""
    evaluation.params.maxDets = max_dets
    if img_ids is not None:
        evaluation.params.imgIds = list(img_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    # The evaluation sorts the limits, so the wanted one need not be the last.
    limits = list(evaluation.params.maxDets)
    return np.asarray(evaluation.eval["precision"])[..., limits.index(max_dets[-1])]


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict]:
    """The N instances of one image in COCO's results format.

    They have pred_boxes, scores (N), pred_classes (N) and perhaps pred_masks: NxHxW bool, or something that has N
    `run_lengths`, where images are too large for that. Gives N dicts: image_id, category_id, bbox (x0, y0, width,
    height), score and, with masks, segmentation (run lengths).
    """
    instances = instances.to("cpu")
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    columns = zip(instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist(), strict=True)
    results = [{"image_id": img_id, "category_id": kind, "bbox": box, "score": score} for kind, box, score in columns]
    if results and instances.has("pred_masks"):
        masks = instances.pred_masks
        encoded = masks.run_lengths if hasattr(masks, "run_lengths") else _encode(masks)
        for result, run_lengths in zip(results, encoded, strict=True):
            result["segmentation"] = run_lengths
    return results


def _encode(masks: Any) -> list[dict]:
    """Run lengths of NxHxW masks (a tensor or BitMasks), with text that json can write."""
    tensor = torch.as_tensor(getattr(masks, "tensor", masks))
    bytes_of = tensor.to(torch.bool).contiguous().numpy().view(np.uint8)
    _, height, width = bytes_of.shape
    # Run lengths go down the columns. One small buffer stays in the processor's cache; all masks at once would not.
    columns = np.empty((width, height), dtype=np.uint8)
    encoded = []
    for mask in bytes_of:
        cv2.transpose(mask, columns)
        run_lengths = mask_util.encode(columns.T)
        encoded.append({"size": run_lengths["size"], "counts": run_lengths["counts"].decode("ascii")})
    return encoded
