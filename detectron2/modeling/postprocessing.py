"""From the network's resolution to the image's."""

from __future__ import annotations

from detectron2.structures import Boxes, Instances, ROIMasks
from detectron2.utils.errors import InputError

__all__ = ["detector_postprocess"]


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Detections scaled to an image of ``output_height`` x ``output_width`` pixels; ``results`` stays as it is.

    Boxes are clipped to the image, those left without area are dropped, and ``pred_masks`` (N, 1, S, S), probabilities
    inside each box, become (N, output_height, output_width) bool masks, set where at least ``mask_threshold``.
    """
    height, width = int(output_height), int(output_width)
    scale_y, scale_x = height / results.image_size[0], width / results.image_size[1]
    scaled = Instances((height, width), **results.get_fields())
    name = "pred_boxes" if scaled.has("pred_boxes") else "proposal_boxes"
    if not scaled.has(name):
        raise InputError(f"detections need pred_boxes or proposal_boxes, got {sorted(results.get_fields())}")
    boxes = Boxes(scaled.get(name).tensor.clone())
    boxes.scale(scale_x, scale_y)
    boxes.clip((height, width))
    scaled.set(name, boxes)
    scaled = scaled[boxes.nonempty()]
    if scaled.has("pred_masks"):
        masks = scaled.pred_masks if isinstance(scaled.pred_masks, ROIMasks) else ROIMasks(scaled.pred_masks[:, 0])
        scaled.pred_masks = masks.to_bitmasks(scaled.get(name), height, width, mask_threshold).tensor
    return scaled
