"""What T forward passes detect in an image beside what a person annotated there.

T passes, K classes, an image of H x W pixels. Pure: masks and probabilities, no files, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from active_learning.annotations.contours import trace_mask
from active_learning.sampling.certainty import mean_mask
from active_learning.sampling.observations import Detection, Mask, Member, group_detections

SAME_OBJECT = 0.5  # IoU from which a detection is of an object, as for AP at 0.5 (COCO)
TOUCHES = 0.1  # IoU from which an object and an observation that are both left over belong together
UNDER_IT = 0.5  # an observation of which so much lies in annotated objects is of one of them


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An annotated object: its number in the file, the index of its class, its pixels."""

    number: int
    label: int
    mask: Mask


@dataclass(frozen=True, eq=False)
class ObservedObject:
    """An observation in the T passes.

    Attributes:
        mask: the pixels that at least half of its members have.
        probabilities: (K,) mean over all T passes; a pass that did not detect it counts 0.
        passes: how many detected it.
        agreement: mean IoU of its members' masks with `mask`.
    """

    mask: Mask
    probabilities: npt.NDArray[np.float64]
    passes: int
    agreement: float

    @property
    def foreground(self) -> float:
        """The probability that it is an object of some class."""
        return float(self.probabilities.sum())


@dataclass(frozen=True, eq=False)
class Match:
    """An annotated object, an observation, or both, where they belong together.

    Attributes:
        number, label: of the annotated object; -1 without one.
        box: x0, y0, x1, y1 in pixels, of the object, else of the observation.
        area: pixels of the same.
        probabilities: (K,) as `ObservedObject`; zeros without an observation. So are `passes`, `agreement` and `iou`.
        iou: of the two masks.
        touched: how much of an object without an observation lies in those of others, 0 to 1.
        shared: how much of the object lies in other annotated objects, 0 to 1; such are detected less often.
        observed: the observation's pixels; None without one.
    """

    number: int
    label: int
    box: tuple[int, int, int, int]
    area: int
    probabilities: npt.NDArray[np.float64]
    passes: int = 0
    agreement: float = 0.0
    iou: float = 0.0
    touched: float = 0.0
    shared: float = 0.0
    observed: Mask | None = None


def observe(passes: Sequence[Sequence[Detection]], iou_threshold: float) -> list[ObservedObject]:
    """The observations of T passes, of all classes together, that have a pixel; the surest first."""
    found = (_observed(members, len(passes)) for members in group_detections(passes, iou_threshold))
    return sorted((one for one in found if one.mask.area), key=lambda one: -one.foreground)


def _observed(members: Sequence[Member], passes: int) -> ObservedObject:
    best: dict[int, Detection] = {}
    for index, detection in members:  # a pass may have several, one a class
        if index not in best or detection.probabilities.max() > best[index].probabilities.max():
            best[index] = detection
    masks = [detection.mask for detection in best.values()]
    mask = mean_mask(masks, quorum=0.5)
    agreement = float(np.mean([one.iou(mask) for one in masks]))
    probabilities = np.sum([detection.probabilities for detection in best.values()], axis=0) / passes
    return ObservedObject(mask, probabilities, len(best), agreement)


def compare(objects: Sequence[LabelledObject], observed: Sequence[ObservedObject], classes: int) -> list[Match]:
    """What belongs together, and what is left over; K classes.

    Object and observation with the highest product of IoU and foreground are joined first, from SAME_OBJECT on; then
    what is left over and touches. An observation that lies in objects which others have is left out.
    """
    ious = _ious(objects, observed)
    weights = ious * [seen.foreground for seen in observed]
    partner: dict[int, int] = {}
    for threshold in (SAME_OBJECT, TOUCHES):
        rows, places = np.nonzero(ious >= threshold)
        for number in np.argsort(-weights[rows, places], kind="stable"):
            row, place = int(rows[number]), int(places[number])
            if row not in partner and place not in partner.values():
                partner[row] = place
    masks = [one.mask for one in objects]
    found = [
        replace(_match(one, classes), shared=_covered(one.mask, masks[:row] + masks[row + 1 :]))
        for row, one in enumerate(objects)
    ]
    for row, place in partner.items():
        seen = observed[place]
        found[row] = replace(found[row], iou=float(ious[row, place]), **_as_observed(seen))
    for row in sorted(set(range(len(objects))) - set(partner)):
        found[row] = replace(found[row], touched=_covered(masks[row], [seen.mask for seen in observed]))
    alone = (seen for place, seen in enumerate(observed) if place not in partner.values())
    return found + [_alone(seen) for seen in alone if _covered(seen.mask, masks) < UNDER_IT]


def _ious(objects: Sequence[LabelledObject], observed: Sequence[ObservedObject]) -> npt.NDArray[np.float64]:
    """(N, M); pixels are counted only where the boxes overlap."""
    ious = np.zeros((len(objects), len(observed)))
    if not ious.size:
        return ious
    one, other = (np.array([each.mask.bounds for each in group]) for group in (objects, observed))
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    for row, place in np.argwhere((low < high).all(axis=2)).tolist():
        ious[row, place] = objects[row].mask.iou(observed[place].mask)
    return ious


def _covered(mask: Mask, others: Sequence[Mask]) -> float:
    """The share of a mask that lies in the others together."""
    covered = np.zeros_like(mask.pixels)
    for one in others:
        part = one.within(*mask.bounds)
        x0, y0, x1, y1 = np.array(part.bounds) - np.array(mask.bounds[:2] * 2)
        covered[y0:y1, x0:x1] |= part.pixels
    return float(np.count_nonzero(covered & mask.pixels) / max(mask.area, 1))


def _match(one: LabelledObject, classes: int) -> Match:
    return Match(one.number, one.label, one.mask.bounds, one.mask.area, np.zeros(classes))


def _alone(seen: ObservedObject) -> Match:
    return Match(-1, -1, seen.mask.bounds, seen.mask.area, **_as_observed(seen))


def _as_observed(seen: ObservedObject) -> dict[str, Any]:
    return {
        "probabilities": seen.probabilities,
        "passes": seen.passes,
        "agreement": seen.agreement,
        "observed": seen.mask,
    }


def outlines_of(mask: Mask) -> tuple[tuple[float, ...], ...]:
    """The outlines of a mask's parts, x0, y0, x1, y1, ... in pixels of the image, for a picture; without holes."""
    error = max(max(mask.pixels.shape) / 150, 0.8)
    outlines = (part.exterior + (mask.x, mask.y) for part in trace_mask(mask.pixels, error))
    return tuple(tuple(outline.round(1).ravel().tolist()) for outline in outlines)
