"""From what the heads found to detections on the processor: pixels of the image file, masks as crops.

n: detections. S: side of a mask inside its box. K: foreground classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from active_learning.sampling.observations import Detection, Mask, Member
from detectron2.structures import Boxes, Instances
from detectron2.utils.transfers import host_copies, to_device

MASK_THRESHOLD = 0.5
CHUNK_PIXELS = 1 << 20
FETCHED_PIXELS = 1 << 27  # so many leave a GPU together, which waits once for them


def cut_detections(found: Instances, height: int, width: int) -> list[Member]:
    """The detections that have an area in the file, with the pixels that `detector_postprocess` gives them.

    Args:
        found: detections of several passes at the network's resolution: pred_boxes, softmaxes (n, K), pred_masks
            (n, 1, S, S) probabilities, `passes` (n,) the index of each one's pass.
        height, width: of the image file.
    """
    cut = cut_masks(found, height, width)
    boxes, probabilities = cut.pred_boxes.tensor.double().numpy(), cut.softmaxes.double().numpy()
    detections = (Detection(*row) for row in zip(cut.masks, boxes, probabilities, strict=True))
    return list(zip(cut.passes.tolist(), detections, strict=True))


def cut_masks(found: Instances, height: int, width: int) -> Instances:
    """The detections that have an area in the file, on the processor: their fields, and `masks`, a list of Mask.

    As `detector_postprocess` gives them, but that `masks` stand for whole masks. Waits for a GPU twice.

    Args:
        found: pred_boxes and pred_masks (n, 1, S, S), probabilities, at the network's resolution; other fields.
        height, width: of the image file.
    """
    boxes = Boxes(found.pred_boxes.tensor.clone())
    boxes.scale(width / found.image_size[1], height / found.image_size[0])
    boxes.clip((height, width))
    squares = found.pred_masks[:, 0]
    windows = _windows(boxes.tensor, squares.shape[-1], height, width)
    fields = {name: value for name, value in found.get_fields().items() if name != "pred_masks"}
    fields |= {"pred_boxes": boxes, "windows": windows, "has_area": boxes.nonempty()}
    known = Instances((height, width), **fields).to("cpu")
    rows = known.has_area.nonzero().flatten()
    bounds = known.windows.numpy()
    masks = _cut_masks(squares, boxes.tensor, windows, bounds, rows.numpy())
    cut = known[rows]
    cut.masks = [masks[row] for row in rows.tolist()]
    cut.remove("windows")
    cut.remove("has_area")
    return cut


def _cut_masks(
    squares: torch.Tensor, boxes: torch.Tensor, windows: torch.Tensor, bounds: np.ndarray, rows: np.ndarray
) -> dict[int, Mask]:
    """(n, S, S) probabilities, (n, 4), (n, 4) twice -> masks of some rows at full resolution; windows of like size are
    cut together."""
    sides = bounds[:, 2:] - bounds[:, :2]
    masks = dict.fromkeys(rows.tolist(), Mask.cut(0, 0, np.zeros((0, 0), dtype=bool)))
    chunks = list(_chunks(sides, rows))
    order = to_device(torch.from_numpy(np.concatenate([*chunks, rows[:0]])), boxes.device)
    crops = (
        _sample(squares[index].float(), boxes[index].float(), windows[index], *sides[chunk].max(axis=0).tolist())
        >= MASK_THRESHOLD
        for chunk, index in zip(chunks, torch.split(order, [len(chunk) for chunk in chunks]), strict=True)
    )
    for chunk, several in zip(chunks, _fetched(crops), strict=True):
        for row, crop in zip(chunk.tolist(), several.numpy(), strict=True):
            x0, y0 = bounds[row, :2].tolist()
            masks[row] = Mask.cut(x0, y0, crop[: sides[row, 1], : sides[row, 0]])
    return masks


def _fetched(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The tensors on the processor; from a GPU many are fetched together."""
    waiting: list[torch.Tensor] = []
    for tensor in tensors:
        waiting.append(tensor)
        if tensor.device.type == "cpu" or sum(one.numel() for one in waiting) > FETCHED_PIXELS:
            yield from host_copies(waiting)
            waiting = []
    yield from host_copies(waiting)


def _windows(boxes: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """(n, 4): half-open (x0, y0, x1, y1) of the pixels that a mask of `size` x `size` cells in its box can reach.

    Between cells it is interpolated, so that it fades to zero half a cell outside its box.
    """
    margin = ((boxes[:, 2:] - boxes[:, :2]) / (2 * size)).repeat(1, 2) + 1
    reach = torch.cat(((boxes - margin)[:, :2].floor(), (boxes + margin)[:, 2:].ceil()), dim=1).long()
    return torch.stack((reach[:, 0::2].clamp(0, width), reach[:, 1::2].clamp(0, height)), dim=2).flatten(1)


def _chunks(sides: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Those rows of (n, 2) windows that have an area, the smallest first; each chunk, filled up to its largest, is
    bounded."""
    order = rows[np.argsort(sides[rows].prod(axis=1), kind="stable")]
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
