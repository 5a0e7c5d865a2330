"""Certainty of an image from several forward passes with dropout (Blok et al. 2022, doi 10.1016/j.compag.2022.106917).

T forward passes; an observation is an object that n of them detected. Its certainty is the product of four parts, each
in 0..1: semantic (class probabilities), mask and box (how alike the members are), occurrence (n / T). Low certainty
is what is worth annotating.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from active_learning.sampling.observations import Detection, Mask, Member, group_detections

if TYPE_CHECKING:
    from active_learning.sampling.tensors import Passes

MEAN_MASK_QUORUM = 0.25  # a pixel belongs to the mean mask where at least this fraction of the members has it

MODES: Mapping[str, Callable[[list[float]], float]] = {
    "mean": lambda certainties: math.fsum(certainties) / len(certainties),
    "min": min,
    "max": max,
}


@dataclass(frozen=True)
class CertaintyParts:
    """Of an object of `size` members: the four parts of its certainty, and their product."""

    size: int
    semantic: float
    mask: float
    box: float
    occurrence: float
    certainty: float


@dataclass(frozen=True)
class Observation(CertaintyParts):
    """An object with its certainty, and what its members were.

    Attributes:
        mean_box: (4,) x0, y0, x1, y1 in pixels.
        probabilities: (n, K) of each member, the background left out and not renormalised.
        passes: (n,) which of the passes each member is from, counted from 0.
    """

    mean_box: npt.NDArray[np.float64] = field(compare=False)
    probabilities: npt.NDArray[np.float64] = field(compare=False)
    passes: tuple[int, ...] = field(compare=False)


@dataclass(frozen=True)
class ImageCertainty:
    """`value` is NaN where no pass detected anything."""

    value: float
    observations: tuple[Observation, ...]


def image_certainty(passes: Passes, *, iou_threshold: float, mode: str) -> ImageCertainty:
    """How sure the network is of what it detects in one image.

    Args:
        passes: T tuples of masks (n, H, W) bool, boxes (n, 4) xyxy in pixels and probabilities (n, K), on any device;
            n may differ from pass to pass and be 0.
        iou_threshold: detections whose masks overlap more than this are the same object.
        mode: mean, min or max of the objects' certainties.

    Raises:
        ValueError: unknown mode, a threshold that is no share, no pass at all, or tensors of other shapes or values.
    """
    from active_learning.sampling.tensors import read_passes

    return certainty_of(read_passes(passes), iou_threshold=iou_threshold, mode=mode)


def certainty_of(passes: Sequence[Sequence[Detection]], *, iou_threshold: float, mode: str) -> ImageCertainty:
    """`image_certainty` of T passes whose masks are cut already (ForwardPasses.passes).

    Raises:
        ValueError: unknown mode, a threshold that is no share, or no pass at all.
    """
    if not (isinstance(iou_threshold, Real) and 0 <= iou_threshold <= 1):
        raise ValueError(f"iou_threshold must be from 0 to 1, not {iou_threshold!r}")
    if mode not in list(MODES):
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if not passes:
        raise ValueError("passes is empty: at least one pass is needed")
    groups = group_detections(passes, iou_threshold)
    observations = tuple(_observe(members, len(passes)) for members in groups)
    value = MODES[mode]([observation.certainty for observation in observations]) if observations else math.nan
    return ImageCertainty(value, observations)


def _observe(members: Sequence[Member], passes: int) -> Observation:
    detections = [detection for _, detection in members]
    boxes = np.stack([detection.box for detection in detections])
    probabilities = np.stack([detection.probabilities for detection in detections])
    semantic = semantic_certainty(probabilities)
    mask = mask_certainty([detection.mask for detection in detections])
    box = box_certainty(boxes)
    occurrence = _clamp(len(members) / passes)
    return Observation(
        size=len(members),
        semantic=semantic,
        mask=mask,
        box=box,
        occurrence=occurrence,
        certainty=semantic * mask * box * occurrence,
        mean_box=boxes.mean(axis=0),
        probabilities=probabilities,
        passes=tuple(index for index, _ in members),
    )


def _clamp(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)


def semantic_certainty(probabilities: npt.NDArray[np.float64]) -> float:
    """(n, K) to the mean of 1 - H(p) / log K, where p sums to 1; with one class the mean probability."""
    classes = probabilities.shape[1]
    if classes == 1:
        return _clamp(probabilities.mean())
    total = probabilities.sum(axis=1, keepdims=True)
    uniform = np.full_like(probabilities, 1 / classes)  # what no class has any probability of is wholly uncertain
    p = np.divide(probabilities, total, out=uniform, where=total > 0)
    entropy = -np.sum(p * np.log(p, out=np.zeros_like(p), where=p > 0), axis=1)
    return _clamp(np.mean(1 - entropy / math.log(classes)))


def mask_certainty(masks: Sequence[Mask]) -> float:
    """Mean IoU of n masks with their mean mask; 0 for masks without a pixel."""
    mean = mean_mask(masks)
    return _clamp(math.fsum(mask.iou(mean) for mask in masks) / len(masks))


def mean_mask(masks: Sequence[Mask], quorum: float = MEAN_MASK_QUORUM) -> Mask:
    """The mask that is set where at least the share `quorum` of the masks is."""
    filled = [mask for mask in masks if mask.area] or list(masks)
    x, y = min(mask.x for mask in filled), min(mask.y for mask in filled)
    width = max(mask.x + mask.pixels.shape[1] for mask in filled) - x
    height = max(mask.y + mask.pixels.shape[0] for mask in filled) - y
    votes = np.zeros((height, width), dtype=np.int32)
    for mask in filled:
        rows, columns = mask.pixels.shape
        votes[mask.y - y : mask.y - y + rows, mask.x - x : mask.x - x + columns] += mask.pixels
    pixels = votes >= quorum * len(masks)
    return Mask(x, y, pixels, int(np.count_nonzero(pixels)))


def box_certainty(boxes: npt.NDArray[np.float64]) -> float:
    """Mean IoU of boxes (n, 4) with their mean box; sides count both end pixels: x1 - x0 + 1."""
    mean = boxes.mean(axis=0, keepdims=True)
    sides = np.minimum(boxes[:, 2:], mean[:, 2:]) - np.maximum(boxes[:, :2], mean[:, :2]) + 1
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    union = _box_areas(boxes) + _box_areas(mean) - shared
    return _clamp(np.mean(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)))


def _box_areas(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2] + 1, 0, None), axis=1))
