"""Forward passes over annotated images that the network was not trained on, compared with their annotations.

Several processes share the images; what is kept of an image is small, so that memory does not grow with masks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.annotations.coco import CocoImage
from active_learning.annotations.odd_objects import region_bitmap
from active_learning.errors import UnreadableImageError, first_line
from active_learning.label_check.comparison import LabelledObject, Match, compare, observe
from active_learning.sampling.observations import Mask
from active_learning.system.processes import ranks
from active_learning.system.progress import progress

if TYPE_CHECKING:
    from active_learning.network.mc_dropout import MonteCarloDropout
    from detectron2.config import CfgNode

FITS_WELL = 0.75  # IoU from which the outline that the network found is not kept: nothing is wrong with the person's


@dataclass(frozen=True)
class ComparedImage:
    """An image of a split, of height x width pixels, with what belongs together in it (`compare`).

    `digest`: of its annotation as it was compared.
    """

    split: str
    name: str
    height: int
    width: int
    matches: tuple[Match, ...]
    digest: str = ""


@dataclass(frozen=True)
class AnnotatedImages:
    """The annotated images of a split, in its folder."""

    split: str
    folder: Path
    images: tuple[CocoImage, ...]

    def share(self, rank: int, count: int) -> AnnotatedImages:
        return replace(self, images=self.images[rank::count])


def compare_images(
    cfg: CfgNode,
    weights: Path,
    annotated: Sequence[AnnotatedImages],
    *,
    classes: Sequence[str],
    passes: int,
    seed: int,
    iou_threshold: float,
) -> tuple[list[ComparedImage], str]:
    """The images of some splits, each compared, in any order, and the first fault of a process that failed.

    A process that fails still meets the others, so that they can go on. An image that cannot be read is left out.
    """
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import load_network

    group, found, fault = ranks(), list[ComparedImage](), ""
    share = [one.share(group.rank, group.count) for one in annotated]
    total = sum(len(one.images) for one in share)
    try:
        sampler = MonteCarloDropout(load_network(cfg, weights), cfg, passes=passes, seed=seed)
        compared = (image for one in share for image in _compare(sampler, one, classes, iou_threshold))
        with progress(compared, what="label check", unit="image", total=total, shown=group.rank == 0) as bar:
            found = list(bar)
    except Exception as error:  # noqa: BLE001 (a rank that raised would leave the others waiting; it is reported)
        fault = f"{type(error).__name__}: {first_line(error)}"
    gathered = group.gather((found, fault))
    return [one for share, _ in gathered for one in share], next((text for _, text in gathered if text), "")


def _compare(
    sampler: MonteCarloDropout, annotated: AnnotatedImages, classes: Sequence[str], iou_threshold: float
) -> Iterator[ComparedImage]:
    from active_learning.network.image_batches import UnreadableImage, read_images

    inputs = read_images(annotated.folder, [image.name for image in annotated.images], sampler.cfg)
    for image, one in zip(annotated.images, inputs, strict=True):
        if isinstance(one, UnreadableImage):
            continue
        try:
            seen = observe(sampler.forward_passes(one.name, one.content).passes, iou_threshold)
        except UnreadableImageError:
            continue
        matches = compare(labelled_objects(image, classes), seen, len(classes))
        kept = tuple(map(_without_good_masks, matches))
        yield ComparedImage(annotated.split, image.name, image.height, image.width, kept, digest_of(image))


def digest_of(image: CocoImage | None) -> str:
    """Of the objects as they are annotated; "" of none."""
    if image is None:
        return ""
    text = "\n".join((*image.labels, *image.regions))
    return hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def labelled_objects(image: CocoImage, classes: Sequence[str]) -> list[LabelledObject]:
    """The annotated objects that have a pixel."""
    objects = (labelled_object(image, number, classes) for number in range(len(image.labels)))
    return [one for one in objects if one.mask.area]


def labelled_object(image: CocoImage, number: int, classes: Sequence[str]) -> LabelledObject:
    bitmap = region_bitmap(json.loads(image.regions[number]), image.height, image.width)
    return LabelledObject(number, classes.index(image.labels[number]), Mask.cut(bitmap.x, bitmap.y, bitmap.mask))


def _without_good_masks(match: Match) -> Match:
    """Of most objects nothing is to be shown."""
    agrees = match.iou >= FITS_WELL and match.label == int(match.probabilities.argmax())
    return replace(match, observed=None) if agrees else match
