"""Explains why images were chosen: the forward passes over a few of them run again, and detect the same as before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.acquisition.explanation import (
    PARTS,
    ExplainedObject,
    Explanation,
    Pixels,
    lowest_of,
    that_count,
    write_explanations,
)
from active_learning.sampling.certainty import MEAN_MASK_QUORUM, Observation, certainty_of
from active_learning.sampling.observations import ForwardPasses, Mask, Member, group_detections
from active_learning.settings import Experiment, Settings
from active_learning.tiles.grid import Tile

if TYPE_CHECKING:
    from detectron2.config import CfgNode

MOST_IMAGES = 6
Window = tuple[int, int, int, int]  # x0, y0, x1, y1: columns x0..x1-1, rows y0..y1-1 of the image


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
            found, inputs = sampler.forward_passes(name, model_input), model_input.get("tiles")
            explanation, spread = explain(name, found, settings.classes, tiles=inputs.tiles if inputs else (), **rule)
            if inputs:
                model_input = inputs.read(_shown_tile(explanation, inputs.tiles))
            yield explanation, picture_of(model_input, cfg), spread

    write_explanations(folder, explained())


def explain(
    image: str,
    forward_passes: ForwardPasses,
    classes: Sequence[str],
    *,
    iou_threshold: float,
    mode: str,
    tiles: Sequence[Tile] = (),
) -> tuple[Explanation, Pixels]:
    """What was detected, the least certain object first, and the map of disagreement (`spread_map`).

    Of an image of several tiles: what lies in that with the least certain object of those that count.
    """
    passes = forward_passes.passes
    certainty = certainty_of(passes, iou_threshold=iou_threshold, mode=mode)
    groups = group_detections(passes, iou_threshold)
    counted = that_count(certainty.observations, mode)
    tile = _tile_around(groups[certainty.observations.index(counted[0])], tiles) if tiles and counted else None
    size = (forward_passes.image_height, forward_passes.image_width)
    window = (0, 0, *size[::-1]) if tile is None else (tile.x, tile.y, tile.x + tile.size, tile.y + tile.size)
    shown = [index for index, members in enumerate(groups) if _lies_in(members, window)]
    objects = [_explain(certainty.observations[index], groups[index], classes, window) for index in shown]
    objects.sort(key=lambda one: one.certainty)
    sides = (window[3] - window[1], window[2] - window[0])
    place = (tile.x, tile.y) if tile is not None and len(tiles) > 1 else None
    lowest = lowest_of(counted) if place is not None else ""
    what = (image, certainty.value, mode, len(passes), *sides, tuple(objects))
    spread = spread_map([groups[index] for index in shown], len(passes), window)
    return Explanation(*what, tile=place, lowest=lowest), spread


def _tile_around(members: Sequence[Member], tiles: Sequence[Tile]) -> Tile:
    """The tile in whose middle a detected object lies best."""
    x0, y0, x1, y1 = np.mean([detection.box for _, detection in members], axis=0)

    def distance(tile: Tile) -> float:
        half = tile.size / 2
        return float(max(abs((x0 + x1) / 2 - tile.x - half), abs((y0 + y1) / 2 - tile.y - half)))

    return min(tiles, key=distance)


def _shown_tile(explanation: Explanation, tiles: Sequence[Tile]) -> Tile:
    return next(tile for tile in tiles if explanation.tile in (None, (tile.x, tile.y)))


def _lies_in(members: Sequence[Member], window: Window) -> bool:
    x0, y0, x1, y1 = np.mean([detection.box for _, detection in members], axis=0)
    return bool(x0 < window[2] and y0 < window[3] and x1 > window[0] and y1 > window[1])


def _explain(
    observation: Observation, members: Sequence[Member], classes: Sequence[str], window: Window
) -> ExplainedObject:
    votes = Counter(classes[index] for index in observation.probabilities.argmax(axis=1))
    corner = np.array(window[:2] * 2)
    return ExplainedObject(
        **{part: getattr(observation, part) for part in (*PARTS, "certainty")},
        boxes=tuple(tuple(round(side, 1) for side in (detection.box - corner).tolist()) for _, detection in members),
        votes=dict(votes.most_common()),
        passes=observation.passes,
    )


def _parts_of_passes(members: Sequence[Member], window: Window) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Of each pass what of its masks, which are several where it detects the object twice, lies in the window: with the
    column and the row there at which that begins."""
    by_pass: dict[int, list[Mask]] = defaultdict(list)
    for number, detection in members:
        if (mask := detection.mask.within(*window)).pixels.size:
            by_pass[number].append(mask)
    for masks in by_pass.values():
        bounds = np.array([mask.bounds for mask in masks]) - np.array(window[:2] * 2)
        (left, top), (right, bottom) = bounds[:, :2].min(axis=0).tolist(), bounds[:, 2:].max(axis=0).tolist()
        part = np.zeros((bottom - top, right - left), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(masks, bounds.tolist(), strict=True):
            part[y0 - top : y1 - top, x0 - left : x1 - left] |= mask.pixels
        yield left, top, part


def spread_map(groups: Sequence[Sequence[Member]], passes: int, window: Window) -> Pixels:
    """(H, W, 4) red, green, blue, opacity of a window of the image: the hotter, the more evenly the passes are divided
    on whether a pixel is the object's; a white line is the outline of each mean mask."""
    height, width = window[3] - window[1], window[2] - window[0]
    spread = np.zeros((height, width), dtype=np.float32)
    outlines = np.zeros((height, width), dtype=bool)
    for members in groups:
        votes = np.zeros((height, width), dtype=np.float32)
        for x0, y0, part in _parts_of_passes(members, window):
            votes[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] += part
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
