"""Axis-aligned boxes: Nx4, (x0, y0, x1, y1), in pixels of a continuous plane (a pixel is 1 x 1, no "+ 1" anywhere).

TorchScript compiles the methods that stand in Boxes itself, and no others. It takes annotations that are types, so they
are not postponed here.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum, unique
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from detectron2.utils.errors import InputError
from detectron2.utils.transfers import to_device

__all__ = [
    "BoxMode", "Boxes", "matched_pairwise_iou", "pairwise_intersection", "pairwise_ioa", "pairwise_iou",
    "pairwise_point_box_distance",
]  # fmt: skip

_Own = TypeVar("_Own", bound="InstanceTensor")
_Raw = TypeVar("_Raw", list[float], tuple[float, ...], Tensor, np.ndarray)


@unique
class BoxMode(IntEnum):
    """What the four (or five) numbers of a box mean; the values are those that data sets store."""

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4

    @staticmethod
    def convert(box: _Raw, from_mode: "BoxMode", to_mode: "BoxMode") -> _Raw:
        """Turn a box of 4 numbers, or an array of Nx4, into another mode; its type is kept, the input untouched.

        Raises NotImplementedError for rotated boxes, InputError for relative ones and for other than 4 coordinates.
        """
        source, target = BoxMode(from_mode), BoxMode(to_mode)
        if isinstance(box, (list, tuple)):
            numbers = np.asarray(box)
            if numbers.ndim != 1:
                raise InputError(f"BoxMode.convert: a {type(box).__name__} is one box; several need an array or tensor")
            return type(box)(BoxMode.convert(numbers, source, target).tolist())
        count = 5 if source is BoxMode.XYWHA_ABS else 4
        if box.shape[-1:] != (count,):
            raise InputError(f"BoxMode.convert: a {source.name} box has {count} numbers, got shape {tuple(box.shape)}")
        converted = box.clone() if isinstance(box, Tensor) else box.copy()
        if source is target:
            return converted
        if {source, target} & {BoxMode.XYXY_REL, BoxMode.XYWH_REL}:
            raise InputError(f"relative boxes are not converted: {source.name} to {target.name}")
        if {source, target} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(
                f"conversion of boxes from {source.name} to {target.name}: only XYXY_ABS and XYWH_ABS are converted"
            )
        sign = 1 if target is BoxMode.XYXY_ABS else -1
        converted[..., 2:] += sign * converted[..., :2]
        return converted


class InstanceTensor:
    """A property of N instances as one tensor of N rows, which `tensor` holds."""

    def __init__(self, tensor: Any) -> None:
        self.tensor: Tensor = tensor

    def to(self: _Own, *args: Any, **kwargs: Any) -> _Own:
        return type(self)(self.tensor.to(*args, **kwargs))

    def pin_memory(self: _Own) -> _Own:
        """A copy in page-locked memory, from which a GPU takes it without a wait."""
        return type(self)(self.tensor.pin_memory())

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def __getitem__(self: _Own, item: Any) -> _Own:
        """Selected rows, sharing memory where torch's indexing does; an int gives one, still as this class."""
        rows = self.tensor[item]
        return type(self)(rows[None] if isinstance(item, int) else rows)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        """The instances one by one, as tensors."""
        yield from self.tensor


class _PythonBoxes(InstanceTensor):
    """What boxes can do in Python only."""

    def __getitem__(self: _Own, item: Any) -> _Own:
        """Selected boxes, sharing memory where torch's indexing does; an int gives one box, still as Boxes."""
        corners = self.tensor[item]
        if isinstance(item, int):
            corners = corners[None]
        if corners.dim() != 2:
            raise IndexError(f"indexing Boxes with {item!r} gives shape {tuple(corners.shape)}, expected (N, 4)")
        return type(self)(corners)

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


class Boxes(_PythonBoxes):
    """N boxes as one float32 tensor, Nx4, (x0, y0, x1, y1) in pixels; `tensor` holds them."""

    def __init__(self, tensor: Tensor) -> None:
        """`tensor` may also be a list or an array."""
        corners = torch.as_tensor(tensor, dtype=torch.float32)
        if corners.numel() == 0:
            # an empty list has no second dimension yet
            corners = corners.reshape(-1, 4)
        if corners.dim() != 2 or corners.shape[1] != 4:
            raise InputError(f"boxes have shape {list(corners.shape)}, expected (N, 4)")
        self.tensor = corners

    def to(self, device: torch.device, non_blocking: bool = False) -> "Boxes":
        return Boxes(self.tensor.to(device, non_blocking=non_blocking))

    def clone(self) -> "Boxes":
        return Boxes(self.tensor.clone())

    def area(self) -> Tensor:
        """N areas in square pixels."""
        x0, y0, x1, y1 = self.tensor.unbind(1)
        return (x1 - x0) * (y1 - y0)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move corners into an image of `box_size` (height, width); changes this object, not the tensor it was made of.

        Raises ValueError for infinite or NaN corners on CPU; to check that would stall a GPU.
        """
        if self.tensor.device.type == "cpu" and not bool(self.tensor.isfinite().all()):
            raise InputError("cannot clip boxes with infinite or NaN corners: did the training diverge?")
        height, width = box_size
        x, y = self.tensor[:, 0::2].clamp(0, width), self.tensor[:, 1::2].clamp(0, height)
        self.tensor = torch.stack((x, y), dim=2).flatten(1)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """N bools: both sides are longer than `threshold` pixels."""
        return (self.tensor[:, 2:] - self.tensor[:, :2] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """N bools: the box leaves an image of (height, width) by less than `boundary_threshold` pixels on each side."""
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(1)
        starts_inside = (x0 >= -boundary_threshold) & (y0 >= -boundary_threshold)
        return starts_inside & (x1 < width + boundary_threshold) & (y1 < height + boundary_threshold)

    def get_centers(self) -> Tensor:
        """Nx2, (x, y) in pixels."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply coordinates in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """All boxes of a list or tuple in one; always a copy, also of a single element."""
        if not isinstance(boxes_list, (list, tuple)):
            raise InputError("Boxes.cat takes a list or tuple of Boxes")
        if len(boxes_list) == 0:
            return cls(torch.empty(0))
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]))


def last_corners(image_sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Nx4, (width, height, width, height) of each of N images of (height, width); type and device are those of `like`.

    So boxes of many images are clipped at once: `boxes.clamp(min=0).minimum(...)`.
    """
    sides = [torch.as_tensor(side, dtype=like.dtype) for height, width in image_sizes for side in (width, height)]
    return to_device(torch.stack(sides).view(-1, 2).repeat(1, 2), like.device)


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """NxM areas, in square pixels, that each of N and each of M boxes share."""
    # coordinates first: the loops then run along the M boxes
    a, b = boxes1.tensor.t().unsqueeze(2), boxes2.tensor.t().contiguous().unsqueeze(1)
    width, height = torch.min(a[2:], b[2:]).sub_(torch.max(a[:2], b[:2])).clamp_(min=0)
    return width * height


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """NxM shared area over united area; 0 for boxes without area."""
    shared = pairwise_intersection(boxes1, boxes2)
    united = boxes1.area()[:, None] + boxes2.area() - shared
    return torch.where(shared > 0, shared / united, 0.0)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """NxM shared area over the area of `boxes2`; 0 for boxes without area."""
    shared = pairwise_intersection(boxes1, boxes2)
    return torch.where(shared > 0, shared / boxes2.area(), 0.0)


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """NxMx4 distances from N points (Nx2, (x, y)) to the left, top, right, bottom sides of M boxes.

    All four are positive exactly where a point lies inside a box.
    """
    point, box = points[:, None], boxes.tensor[None]
    return torch.cat((point - box[..., :2], box[..., 2:] - point), dim=2)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """N IoUs of the first box with the first, the second with the second, ...; ValueError for unequal numbers."""
    if len(boxes1) != len(boxes2):
        raise InputError(f"matched boxes must be as many: got {len(boxes1)} and {len(boxes2)}")
    a, b = boxes1.tensor, boxes2.tensor
    shared = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    return torch.where(shared > 0, shared / (boxes1.area() + boxes2.area() - shared), 0.0)
