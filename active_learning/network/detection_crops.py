"""From what the heads found to detections as the certainty takes them: pixels of the image file, masks as crops.

n: detections. S: side of a mask inside its box. K: foreground classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from active_learning.sampling.observations import Detection, Mask, Member
from detectron2.modeling import detector_postprocess
from detectron2.structures import Instances

MASK_THRESHOLD = 0.5
CHUNK_PIXELS = 1 << 20


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
    """(n, S, S) probabilities, (n, 4) -> masks at full resolution; windows of like size are cut together."""
    windows = _windows(boxes, squares.shape[-1], height, width)
    bounds = windows.cpu().numpy()
    sides = bounds[:, 2:] - bounds[:, :2]
    masks = [Mask.cut(0, 0, np.zeros((0, 0), dtype=bool))] * len(bounds)
    for chunk in _chunks(sides):
        shape = sides[chunk].max(axis=0)
        index = torch.from_numpy(chunk).to(boxes.device)
        crops = _sample(squares[index].float(), boxes[index].float(), windows[index], *shape.tolist())
        for row, crop in zip(chunk, (crops >= MASK_THRESHOLD).cpu().numpy(), strict=True):
            x0, y0 = bounds[row, :2].tolist()
            masks[row] = Mask.cut(x0, y0, crop[: sides[row, 1], : sides[row, 0]])
    return masks


def _windows(boxes: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """(n, 4): half-open (x0, y0, x1, y1) of the pixels that a mask of `size` x `size` cells in its box can reach.

    Between cells it is interpolated, so that it fades to zero half a cell outside its box.
    """
    margin = ((boxes[:, 2:] - boxes[:, :2]) / (2 * size)).repeat(1, 2) + 1
    reach = torch.cat(((boxes - margin)[:, :2].floor(), (boxes + margin)[:, 2:].ceil()), dim=1).long()
    return torch.minimum(reach.clamp(min=0), reach.new_tensor([width, height, width, height]))


def _chunks(sides: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of (n, 2) windows with an area, the smallest first; each chunk, filled up to its largest, is bounded."""
    order = np.argsort(sides.prod(axis=1), kind="stable")
    order = order[sides[order].min(axis=1) > 0]
    start = 0
    for end in range(1, len(order) + 1):
        rows = order[start : end + 1]
        if end == len(order) or len(rows) * int(sides[rows].max(axis=0).prod()) > CHUNK_PIXELS:
            yield order[start:end]
            start = end


def _sample(squares: torch.Tensor, boxes: torch.Tensor, windows: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """(n, height, width): probabilities at the pixels from the upper left corner of each window on."""
    positions = []
    for axis, length in ((0, width), (1, height)):
        centres = windows[:, axis, None] + torch.arange(length, device=boxes.device) + 0.5
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        positions.append((centres - start) / (end - start) * 2 - 1)
    columns, rows = positions
    shape = (len(boxes), height, width)
    grid = torch.stack((columns[:, None].expand(shape), rows[:, :, None].expand(shape)), dim=-1)
    return F.grid_sample(squares[:, None], grid, align_corners=False)[:, 0]
