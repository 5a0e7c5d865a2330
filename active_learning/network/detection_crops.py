"""From what the heads found to detections as the certainty takes them: pixels of the image file, masks as crops.

n: detections. S: side of a mask inside its box. K: foreground classes.
"""

from __future__ import annotations

import numpy as np
import torch

from active_learning.sampling.observations import Detection, Mask, Member
from detectron2.layers import paste_masks_in_boxes
from detectron2.modeling import detector_postprocess
from detectron2.structures import Instances

MASK_THRESHOLD = 0.5


def cut_detections(found: Instances, height: int, width: int) -> list[Member]:
    """The detections that have an area in the file, with the pixels that `detector_postprocess` gives them.

    Args:
        found: detections of several passes at the network's resolution: pred_boxes, softmaxes (n, K), pred_masks
            (n, 1, S, S) probabilities, `passes` (n,) the index of each one's pass.
        height, width: of the image file.
    """
    squares = Instances(found.image_size, **found.get_fields())
    squares.squares = squares.pred_masks
    squares.remove("pred_masks")  # or they would be pasted into whole images
    scaled = detector_postprocess(squares, height, width)
    masks = _cut_masks(scaled.squares[:, 0], scaled.pred_boxes.tensor, height, width)
    boxes = scaled.pred_boxes.tensor.cpu().double().numpy()
    probabilities = scaled.softmaxes.cpu().double().numpy()
    detections = (Detection(*row) for row in zip(masks, boxes, probabilities, strict=True))
    return list(zip(scaled.passes.tolist(), detections, strict=True))


def _cut_masks(squares: torch.Tensor, boxes: torch.Tensor, height: int, width: int) -> list[Mask]:
    """(n, S, S) probabilities, (n, 4) -> masks at full resolution, in one transfer from the device."""
    pasted = list(paste_masks_in_boxes(squares, boxes, (height, width)))
    if not pasted:
        return []
    windows = [window for window, _ in pasted]
    flat = torch.cat([(crop >= MASK_THRESHOLD).flatten() for _, crop in pasted]).cpu().numpy()
    ends = np.cumsum([crop.numel() for _, crop in pasted])
    return [
        Mask.cut(x0, y0, flat[end - (y1 - y0) * (x1 - x0) : end].reshape(y1 - y0, x1 - x0))
        for (x0, y0, x1, y1), end in zip(windows, ends, strict=True)
    ]
