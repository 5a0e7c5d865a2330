"""Explains why images were chosen: the forward passes over a few of them run again, and detect the same as before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from active_learning.acquisition.explanation import PARTS, ExplainedObject, Explanation, Pixels, write_explanations
from active_learning.sampling.certainty import MEAN_MASK_QUORUM, Observation, certainty_of
from active_learning.sampling.observations import ForwardPasses, Member, group_detections
from active_learning.settings import Experiment, Settings

if TYPE_CHECKING:
    from detectron2.config import CfgNode

MOST_IMAGES = 6


def least_certain(certainty: Mapping[str, float]) -> list[str]:
    """Of the chosen images those to explain; images in which nothing was detected have nothing to show."""
    with_objects = [name for name, value in certainty.items() if value == value]
    return sorted(with_objects, key=lambda name: (certainty[name], name))[:MOST_IMAGES]


def explain_images(
    settings: Settings, experiment: Experiment, folder: Path, *, cfg: CfgNode, weights: Path, images: Sequence[str]
) -> None:
    """Writes what the network detected in these images of traindir into the folder, for the report."""
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import load_network, picture_of, read_input

    sampler = MonteCarloDropout(load_network(cfg, weights), cfg, passes=experiment.mcd_iterations, seed=experiment.seed)
    rule: dict[str, Any] = {"iou_threshold": settings.iou_thres, "mode": experiment.mode}

    def explained() -> Iterator[tuple[Explanation, Pixels, Pixels]]:
        for name in images:
            model_input = read_input(settings.traindir / name, cfg)
            explanation, spread = explain(name, sampler.forward_passes(name, model_input), settings.classes, **rule)
            yield explanation, picture_of(model_input, cfg), spread

    write_explanations(folder, explained())


def explain(
    image: str, forward_passes: ForwardPasses, classes: Sequence[str], *, iou_threshold: float, mode: str
) -> tuple[Explanation, Pixels]:
    """What was detected, the least certain object first, and the map of disagreement (`spread_map`)."""
    passes = forward_passes.passes
    certainty = certainty_of(passes, iou_threshold=iou_threshold, mode=mode)
    groups = group_detections(passes, iou_threshold)
    objects = [_explain(one, members, classes) for one, members in zip(certainty.observations, groups, strict=True)]
    objects.sort(key=lambda one: one.certainty)
    size = (forward_passes.image_height, forward_passes.image_width)
    explanation = Explanation(image, certainty.value, mode, len(passes), *size, tuple(objects))
    return explanation, spread_map(groups, len(passes), *size)


def _explain(observation: Observation, members: Sequence[Member], classes: Sequence[str]) -> ExplainedObject:
    votes = Counter(classes[index] for index in observation.probabilities.argmax(axis=1))
    return ExplainedObject(
        **{part: getattr(observation, part) for part in (*PARTS, "certainty")},
        boxes=tuple(tuple(round(side, 1) for side in detection.box.tolist()) for _, detection in members),
        votes=dict(votes.most_common()),
        passes=observation.passes,
    )


def spread_map(groups: Sequence[Sequence[Member]], passes: int, height: int, width: int) -> Pixels:
    """(H, W, 4) red, green, blue, opacity: the hotter, the more evenly the passes are divided on whether a pixel is
    the object's; a white line is the outline of each mean mask."""
    spread = np.zeros((height, width), dtype=np.float32)
    outlines = np.zeros((height, width), dtype=bool)
    for members in groups:
        votes = np.zeros((height, width), dtype=np.float32)
        for _, detection in members:
            x0, y0, x1, y1 = detection.mask.bounds
            votes[y0:y1, x0:x1] += detection.mask.pixels
        share = votes / passes
        np.maximum(spread, 4 * share * (1 - share), out=spread)
        mean = np.pad((votes >= MEAN_MASK_QUORUM * len(members)).astype(np.uint8), 1)
        outlines |= (mean > cv2.erode(mean, np.ones((3, 3), np.uint8)))[1:-1, 1:-1]
    heat = np.zeros((height, width, 4), dtype=np.uint8)
    heat[..., 0] = 255
    heat[..., 1] = 40 + 190 * spread
    heat[..., 3] = 180 * spread
    heat[outlines] = 255
    return heat
