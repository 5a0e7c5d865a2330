"""Class scores and box corrections of proposals (Girshick 2015, arXiv 1504.08083).

M proposals over the N images of a batch, R of one image; K foreground classes, the background is class K; B is K, or 1
where all classes share one box. Boxes are (x0, y0, x1, y1) in pixels of the input image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat, cross_entropy, nms_by_image, nonzero_tuple
from detectron2.modeling.box_regression import Box2BoxTransform, box_regression_loss, weighted
from detectron2.modeling.sampling import rows_where
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import last_corners
from detectron2.utils.errors import InputError
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.transfers import counting_waits

__all__ = ["FastRCNNOutputLayers", "detect_objects", "fast_rcnn_inference", "fast_rcnn_inference_single_image"]

FEW_PAIRS = 2**13  # of proposals and classes

Predictions = tuple[torch.Tensor, torch.Tensor]


def fast_rcnn_inference(
    boxes: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Detections of each image: every (proposal, class) above ``score_thresh``, suppressed inside its class.

    Args:
        boxes: (R, 4 B) of each image, get clipped to ``image_shapes`` (height, width).
        scores: (R, K + 1) probabilities of each image, background last.
        nms_thresh: IoU above which the lower of two detections of a class is suppressed.
        topk_per_image: most detections to keep; below 0 keeps all.

    Returns:
        For each image Instances with ``pred_boxes``, ``scores``, ``pred_classes``, best first; and each one's row of
        ``boxes``.
    """
    return detect_objects(boxes, scores, image_shapes, score_thresh, nms_thresh, topk_per_image)


def fast_rcnn_inference_single_image(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, torch.Tensor]:
    """:func:`fast_rcnn_inference` of one image."""
    limits = (score_thresh, nms_thresh, topk_per_image)
    (instances,), (rows,) = fast_rcnn_inference([boxes], [scores], [image_shape], *limits)
    return instances, rows


def detect_objects(
    boxes: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    across_classes: bool = False,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """:func:`fast_rcnn_inference`; with ``across_classes`` an object is detected once, whatever its class."""
    counts = [len(own) for own in boxes]
    if not counts:
        return [], []
    all_boxes, all_scores = cat(list(boxes)), cat(list(scores))
    finite = torch.isfinite(all_boxes).all(dim=1) & torch.isfinite(all_scores).all(dim=1)
    all_scores = all_scores[:, :-1]
    rows, classes, valid = _pairs_where((all_scores > score_thresh) & finite.unsqueeze(1))
    owners = torch.cat([finite.new_full((count,), i, dtype=torch.int64) for i, count in enumerate(counts)])
    images = owners[rows]
    candidates = _clipped(_boxes_of_classes(all_boxes, classes, rows), images, image_shapes)
    found = all_scores[rows, classes]
    groups, group_count = (None, 1) if across_classes else (classes, all_scores.shape[1])
    kept = nms_by_image(candidates, found, valid, images, len(counts), groups, group_count, nms_thresh)
    kept = [own[:topk_per_image] if topk_per_image >= 0 else own for own in kept]
    results = [
        Instances(shape, pred_boxes=Boxes(candidates[own]), scores=found[own], pred_classes=classes[own])
        for own, shape in zip(kept, image_shapes, strict=True)
    ]
    return results, [rows[own] - first for own, first in zip(kept, accumulate(counts, initial=0), strict=False)]


def _pairs_where(above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, columns, and whether (R, K) ``above`` holds: of the pairs where it does; of few pairs on a GPU of all.

    To compare a few thousand boxes too many takes a GPU less time than to be waited for.
    """
    if counting_waits(above) and above.numel() <= FEW_PAIRS:
        pairs = torch.arange(above.numel(), device=above.device)
        return pairs // above.shape[1], pairs % above.shape[1], above.flatten()
    rows, columns = nonzero_tuple(above)
    return rows, columns, torch.ones_like(rows, dtype=torch.bool)


def _clipped(boxes: torch.Tensor, images: torch.Tensor, image_shapes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """(n, 4) boxes inside their image, of ``images`` (n,)."""
    if len(image_shapes) == 1:
        clipped = Boxes(boxes)
        clipped.clip(image_shapes[0])
        return clipped.tensor
    return boxes.clamp(min=0).minimum(last_corners(image_shapes, boxes)[images])


def _boxes_of_classes(boxes: torch.Tensor, classes: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """(n, 4) of (R, 4 B) boxes or deltas: those of n rows (all where None) and their classes (n,)."""
    rows = torch.arange(len(boxes), device=boxes.device) if rows is None else rows
    by_class = boxes.view(len(boxes), boxes.shape[1] // 4, 4)
    return by_class[rows, 0 if by_class.shape[1] == 1 else classes]


def _put_classification_stats(logits: torch.Tensor, gt_classes: torch.Tensor) -> None:
    """Accuracy over all proposals and over those of an object, and the share of these called background."""
    num_classes = logits.shape[1] - 1
    predicted = logits.argmax(dim=1)
    correct, is_object = predicted == gt_classes, gt_classes < num_classes
    missed = is_object & (predicted == num_classes)
    counts = torch.stack((correct, is_object, correct & is_object, missed)).sum(dim=1)
    event_storage_or_new().put_from_device(counts, partial(_classification_stats, len(gt_classes)))


def _classification_stats(count: int, numbers: list[float]) -> dict[str, float]:
    num_correct, num_objects, num_correct_objects, num_missed = numbers
    stats = {"fast_rcnn/cls_accuracy": num_correct / count} if count else {}
    if num_objects:
        stats["fast_rcnn/fg_cls_accuracy"] = num_correct_objects / num_objects
        stats["fast_rcnn/false_negative"] = num_missed / num_objects
    return stats


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers on the features of each proposal: K + 1 class scores and 4 B box deltas.

    Args:
        input_shape: of the features of one proposal; an int is that many channels.
        num_classes: K.
        test_score_thresh, test_nms_thresh, test_topk_per_image: see :func:`fast_rcnn_inference`.
        cls_agnostic_bbox_reg: one box for all classes (B = 1).
        smooth_l1_beta, box_reg_loss_type: see :func:`box_regression_loss`.
        loss_weight: one for both losses, or by name (loss_cls, loss_box_reg).
        use_sigmoid_ce: independent sigmoids instead of a softmax.
        use_fed_loss, get_fed_loss_cls_weights, fed_loss_num_classes: federated loss is not supported: a ValueError.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | dict[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Any = None,
        fed_loss_num_classes: int = 50,
    ) -> None:
        super().__init__()
        if use_fed_loss or get_fed_loss_cls_weights is not None:
            raise InputError("MODEL.ROI_BOX_HEAD.USE_FED_LOSS: federated loss is not supported, set it to False")
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        features = (input_shape.channels or 0) * (input_shape.height or 1) * (input_shape.width or 1)
        self.cls_score = nn.Linear(features, num_classes + 1)
        self.bbox_pred = nn.Linear(features, 4 * (1 if cls_agnostic_bbox_reg else num_classes))
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.num_classes = num_classes
        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.box_reg_loss_type = box_reg_loss_type
        names = ("loss_cls", "loss_box_reg")
        self.loss_weight = loss_weight if isinstance(loss_weight, dict) else dict.fromkeys(names, loss_weight)
        self.use_sigmoid_ce = use_sigmoid_ce

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=head.BBOX_REG_WEIGHTS),
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "cls_agnostic_bbox_reg": head.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": head.SMOOTH_L1_BETA,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "box_reg_loss_type": head.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": head.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": head.USE_FED_LOSS,
            "use_sigmoid_ce": head.USE_SIGMOID_CE,
            "fed_loss_num_classes": head.FED_LOSS_NUM_CLASSES,
        }

    def forward(self, x: torch.Tensor) -> Predictions:
        """Features (M, C) or (M, C, H, W) -> class logits (M, K + 1) and deltas (M, 4 B)."""
        x = x.flatten(1) if x.dim() > 2 else x
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: Predictions, proposals: Sequence[Instances]) -> dict[str, torch.Tensor]:
        """``loss_cls`` and ``loss_box_reg`` of the predictions for all proposals.

        They have ``proposal_boxes``, ``gt_classes`` and, where the image has objects, ``gt_boxes``.
        """
        logits, deltas = predictions
        no_classes = torch.empty(0, dtype=torch.int64, device=logits.device)
        no_boxes = deltas.new_zeros((0, 4))
        gt_classes = torch.cat([no_classes, *(p.gt_classes for p in proposals)])
        boxes = torch.cat([no_boxes, *(p.proposal_boxes.tensor for p in proposals)])
        with_truth = [p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes for p in proposals]
        targets = torch.cat([no_boxes, *(own.tensor for own in with_truth)])
        _put_classification_stats(logits, gt_classes)
        classify = self.sigmoid_cross_entropy_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classify(logits, gt_classes),
            "loss_box_reg": self.box_reg_loss(boxes, targets, deltas, gt_classes),
        }
        return weighted(losses, self.loss_weight)

    def sigmoid_cross_entropy_loss(self, pred_class_logits: torch.Tensor, gt_classes: torch.Tensor) -> torch.Tensor:
        """Binary cross entropy summed over the K classes, mean over the proposals; the background has no unit."""
        targets = F.one_hot(gt_classes, self.num_classes + 1)[:, :-1].to(pred_class_logits.dtype)
        loss = F.binary_cross_entropy_with_logits(pred_class_logits[:, :-1], targets, reduction="sum")
        return loss / max(len(gt_classes), 1)

    def box_reg_loss(
        self, proposal_boxes: torch.Tensor, gt_boxes: torch.Tensor, pred_deltas: torch.Tensor, gt_classes: torch.Tensor
    ) -> torch.Tensor:
        """Box loss of the foreground proposals, divided by the number of all proposals.

        So each foreground proposal weighs the same, however many an image has, and ``loss_cls`` is on the same scale.
        """
        rows, is_object = rows_where((gt_classes >= 0) & (gt_classes < self.num_classes))
        deltas = _boxes_of_classes(pred_deltas[rows], gt_classes[rows].clamp(0, self.num_classes - 1))
        boxes, kind = (proposal_boxes[rows], gt_boxes[rows]), (self.box_reg_loss_type, self.smooth_l1_beta)
        loss = box_regression_loss(self.box2box_transform, deltas, *boxes, *kind, is_object)
        return loss / max(gt_classes.numel(), 1)

    def inference(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Detections of each image and the rows of its proposals they come from."""
        boxes, probs = self.predict_boxes(predictions, proposals), self.predict_probs(predictions, proposals)
        limits = (self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image)
        return fast_rcnn_inference(boxes, probs, [p.image_size for p in proposals], *limits)

    def predict_boxes(self, predictions: Predictions, proposals: Sequence[Instances]) -> tuple[torch.Tensor, ...]:
        """Corrected boxes (R, 4 B) of each image."""
        if not proposals:
            return ()
        boxes = cat([p.proposal_boxes.tensor for p in proposals], dim=0)
        return self.box2box_transform.apply_deltas(predictions[1], boxes).split([len(p) for p in proposals])

    def predict_boxes_for_gt_classes(
        self, predictions: Predictions, proposals: Sequence[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """Boxes (R, 4) of each image, corrected as for the ``gt_classes``; background rows take an arbitrary class."""
        boxes = self.predict_boxes(predictions, proposals)
        classes = [p.gt_classes.clamp(0, self.num_classes - 1) for p in proposals]
        return tuple(_boxes_of_classes(*own) for own in zip(boxes, classes, strict=True))

    def predict_probs(self, predictions: Predictions, proposals: Sequence[Instances]) -> tuple[torch.Tensor, ...]:
        """Class probabilities (R, K + 1) of each image, background last."""
        logits = predictions[0].float()
        probs = logits.sigmoid() if self.use_sigmoid_ce else F.softmax(logits, dim=-1)
        return probs.split([len(p) for p in proposals])
