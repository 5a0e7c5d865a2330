"""Keeps why images were chosen: the network looks again at a few of them, and sees the same as before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from active_learning.run.output_files import OutputFiles
from active_learning.settings import Experiment, Settings

if TYPE_CHECKING:
    from active_learning.acquisition.explanation import Pixels
    from detectron2.config import CfgNode

MOST_IMAGES = 6


def least_certain(certainty: Mapping[str, float]) -> list[str]:
    """Of the chosen images those to explain; images in which nothing was seen have nothing to show."""
    seen = [name for name, value in certainty.items() if value == value]
    return sorted(seen, key=lambda name: (certainty[name], name))[:MOST_IMAGES]


def explain_images(
    settings: Settings,
    experiment: Experiment,
    files: OutputFiles,
    loop: int,
    *,
    cfg: CfgNode,
    weights: Path,
    images: Sequence[str],
) -> None:
    """Writes what the network saw in these images of traindir, for the report."""
    from active_learning.acquisition.explanation import Album, explain
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import load_network
    from active_learning.sampling import certainty_of

    network = load_network(cfg, weights)
    sampler = MonteCarloDropout(network, cfg, passes=experiment.mcd_iterations, seed=experiment.seed)
    album = Album(files.why_chosen(loop))
    rule: dict[str, Any] = {"iou_threshold": settings.iou_thres, "mode": experiment.mode}
    for name in images:
        given = sampler.read(settings.traindir / name)
        (look,) = sampler.look([(name, given)])
        told, spread = explain(name, look, certainty_of(look, **rule), settings.classes, **rule)
        album.add(told, _picture(given, cfg), spread)
    album.close()


def _picture(given: Mapping[str, Any], cfg: CfgNode) -> Pixels:
    """The network's input as red, green, blue."""
    pixels = given["image"].numpy().transpose(1, 2, 0).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1] if cfg.INPUT.FORMAT == "BGR" else pixels)
