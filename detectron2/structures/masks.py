"""Masks of instances: whole-image bitmaps, polygons, and squares fitted to boxes.

N is the number of instances, M the side of a square mask. Polygons are flat arrays (x0, y0, x1, y1, ...) of at least
three points, in pixels of a continuous plane; the polygons of an instance are united.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from detectron2.layers import paste_masks_in_image, roi_align
from detectron2.structures.boxes import Boxes, InstanceTensor
from detectron2.utils.errors import InputError
from detectron2.utils.memory import retry_if_cuda_oom
from detectron2.utils.transfers import host_copy, to_device

Polygons = list[np.ndarray]
_CROP_PIXELS = 2**24


def polygons_to_bitmask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """HxW bool: the union of an instance's polygons, rasterised as COCO does; all False for no polygons."""
    return _rasterize([list(polygons)], height, width)[0]


def _rasterize(instances: Sequence[Sequence[np.ndarray]], height: int, width: int) -> np.ndarray:
    """NxHxW bool: the united polygons of each of N instances, in one call to the rasteriser."""
    masks = np.zeros((len(instances), height, width), dtype=bool)
    polygons = [polygon for instance in instances for polygon in instance]
    runs = coco_mask.frPyObjects(polygons, height, width) if polygons else []
    end = np.cumsum([len(instance) for instance in instances], dtype=int)
    for mask, instance, stop in zip(masks, instances, end, strict=True):
        if len(instance):
            mask[:] = coco_mask.decode(coco_mask.merge(runs[stop - len(instance) : stop]))
    return masks


class BitMasks(InstanceTensor):
    """N masks as one bool tensor, NxHxW, the size of the image."""

    def __init__(self, tensor: Any) -> None:
        masks = torch.as_tensor(tensor, dtype=torch.bool)
        if masks.dim() != 3:
            raise InputError(f"bit masks have shape {tuple(masks.shape)}, expected (N, H, W)")
        super().__init__(masks)
        self.image_size = masks.shape[1:]

    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)}, image_size={tuple(self.image_size)})"

    def nonempty(self) -> Tensor:
        """N bools: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    def from_polygon_masks(polygon_masks: PolygonMasks | list[Polygons], height: int, width: int) -> BitMasks:
        """Rasterise polygons in an image of the given size."""
        if isinstance(polygon_masks, PolygonMasks):
            polygon_masks = polygon_masks.polygons
        return BitMasks(torch.from_numpy(_rasterize(polygon_masks, height, width)))

    @staticmethod
    def from_roi_masks(roi_masks: ROIMasks, boxes: Boxes | Tensor, height: int, width: int) -> BitMasks:
        """Paste box-shaped masks into an image of the given size, at threshold 0.5."""
        return roi_masks.to_bitmasks(boxes, height, width)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """NxMxM bool: each mask cropped by its box (Nx4, (x0, y0, x1, y1)), averaged to MxM bins, at least 0.5."""
        if len(boxes) != len(self):
            raise InputError(f"{len(self)} masks cannot be cropped by {len(boxes)} boxes")
        if len(self) == 0:
            return torch.empty((0, mask_size, mask_size), dtype=torch.bool, device=self.device)
        corners = boxes.to(self.device, torch.float32)
        # float copies of all bitmaps of a crowded image at once would not fit
        count = max(1, _CROP_PIXELS // max(1, self.tensor[0].numel()))
        parts = zip(self.tensor.split(count), corners.split(count), strict=True)
        return torch.cat([_crop(masks, boxes, mask_size) for masks, boxes in parts])

    def get_bounding_boxes(self) -> Boxes:
        """The tightest box around each mask's pixels; zeros for an empty mask."""
        (x0, x1), (y0, y1) = _span(self.tensor.any(dim=1)), _span(self.tensor.any(dim=2))
        return Boxes(torch.stack((x0, y0, x1, y1), dim=1))

    @staticmethod
    def cat(bitmasks_list: Sequence[BitMasks]) -> BitMasks:
        """All masks in one; images must be equal in size."""
        if len(bitmasks_list) == 0:
            raise InputError("BitMasks.cat: no masks, so no image size")
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list]))


def _crop(masks: Tensor, boxes: Tensor, mask_size: int) -> Tensor:
    rois = torch.cat((torch.arange(len(boxes), device=boxes.device)[:, None], boxes), dim=1)
    return roi_align(masks[:, None].float(), rois, mask_size, 1.0, 0, aligned=True)[:, 0] >= 0.5


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First True and one past the last True in each row of an NxL tensor; 0 and 0 in a row without."""
    # one column more: amin and amax need one
    occupied = torch.nn.functional.pad(occupied, (0, 1))
    positions = torch.arange(occupied.shape[1], device=occupied.device)
    end = torch.where(occupied, positions + 1, 0).amax(dim=1)
    start = torch.where(occupied, positions, len(positions)).amin(dim=1)
    return torch.minimum(start, end), end


class PolygonMasks:
    """N masks as polygons; `polygons[i]` lists the float64 arrays of instance i. Lives on the CPU."""

    def __init__(self, polygons: Sequence[Sequence[Any]]) -> None:
        if not isinstance(polygons, (list, tuple)):
            raise InputError(f"PolygonMasks takes a list of lists of polygons, not {type(polygons).__name__}")
        self.polygons = [_parts(instance, i) for i, instance in enumerate(polygons)]

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Itself: polygons stay on the CPU."""
        return self

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """The tightest box around each instance's points; zeros for an instance without polygons."""
        boxes = torch.zeros(len(self), 4)
        for box, instance in zip(boxes, self.polygons, strict=True):
            if instance:
                points = np.concatenate(instance).reshape(-1, 2)
                box[:] = torch.from_numpy(np.concatenate((points.min(axis=0), points.max(axis=0))))
        return Boxes(boxes)

    def nonempty(self) -> Tensor:
        """N bools: the instance has a polygon."""
        return torch.tensor([len(instance) > 0 for instance in self.polygons], dtype=torch.bool)

    def __getitem__(self, item: Any) -> PolygonMasks:
        """Selected instances: by an int (giving one), slice, list of ints, or tensor of indices or bools."""
        if isinstance(item, (int, slice)):
            return PolygonMasks(self.polygons[item] if isinstance(item, slice) else [self.polygons[item]])
        index = host_copy(torch.as_tensor(item))
        if index.dim() != 1:
            raise IndexError(f"PolygonMasks are indexed by one dimension, got {index.dim()}")
        if index.dtype is torch.bool:
            if len(index) != len(self):
                raise IndexError(f"a mask of {len(index)} bools cannot index {len(self)} instances")
            index = index.nonzero().flatten()
        return PolygonMasks([self.polygons[i] for i in index.long().tolist()])

    def __iter__(self) -> Iterator[Polygons]:
        """Instances one by one, as lists of float64 arrays."""
        return iter(self.polygons)

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """NxMxM bool, on the boxes' device: polygons rasterised in their box (Nx4, (x0, y0, x1, y1)) on an MxM grid."""
        if len(boxes) != len(self):
            raise InputError(f"{len(self)} masks cannot be cropped by {len(boxes)} boxes")
        corners = host_copy(boxes).float().numpy()
        # A box thinner than a tenth of a pixel must not blow polygons up without bound. The scales are numpy's numbers,
        # one by one: their rounding, which decides about points on a pixel's border, is then Detectron2's.
        scales = [[mask_size / max(side, 0.1) for side in box[2:] - box[:2]] for box in corners]
        fitted = [
            [((polygon.reshape(-1, 2) - origin) * scale).ravel() for polygon in instance]
            for instance, origin, scale in zip(self.polygons, corners[:, :2], scales, strict=True)
        ]
        return to_device(torch.from_numpy(_rasterize(fitted, mask_size, mask_size)), boxes.device)

    def area(self) -> Tensor:
        """N summed areas of the instances' polygons, in square pixels; overlaps count twice."""
        return torch.tensor([sum(_polygon_area(polygon) for polygon in instance) for instance in self.polygons])

    @staticmethod
    def cat(polymasks_list: Sequence[PolygonMasks]) -> PolygonMasks:
        return PolygonMasks([instance for masks in polymasks_list for instance in masks.polygons])


def _parts(instance: Any, index: int) -> Polygons:
    if not isinstance(instance, (list, tuple)):
        raise InputError(f"instance {index} must be a list of polygons, not {type(instance).__name__}")
    return [_polygon(polygon, f"instance {index}, polygon {i}") for i, polygon in enumerate(instance)]


def _polygon(points: Any, place: str) -> np.ndarray:
    flat = np.asarray(points.detach().cpu() if isinstance(points, Tensor) else points, dtype=np.float64)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2:
        raise InputError(
            f"{place}: shape {flat.shape} is not a flat list of three or more points (x0, y0, x1, y1, ...)"
        )
    return flat


def _polygon_area(polygon: np.ndarray) -> float:
    """Shoelace formula; in float64, unlike OpenCV's contourArea."""
    x, y = polygon[0::2], polygon[1::2]
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


class ROIMasks(InstanceTensor):
    """N masks as NxMxM probabilities, each fitted to its instance's box."""

    def __init__(self, tensor: Tensor) -> None:
        if tensor.dim() != 3:
            raise InputError(f"box-fitted masks have shape {tuple(tensor.shape)}, expected (N, M, M)")
        super().__init__(tensor)

    def __repr__(self) -> str:
        return f"ROIMasks(num_instances={len(self)}, mask_size={tuple(self.tensor.shape[1:])})"

    def to_bitmasks(self, boxes: Boxes | Tensor, height: int, width: int, threshold: float = 0.5) -> BitMasks:
        """Paste the masks at their boxes (N) into an image of the given size."""
        paste = retry_if_cuda_oom(paste_masks_in_image)
        return BitMasks(paste(self.tensor, boxes, (height, width), threshold=threshold))
