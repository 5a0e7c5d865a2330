"""The tiles that a run trains on, where its settings ask for tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.dataset.coco import DatasetSummary
from active_learning.dataset.tile_files import FILE, TilePlan, write_tiles
from active_learning.run.data import RunData
from active_learning.system.log import logger
from active_learning.system.processes import run_on_all_ranks
from active_learning.system.wording import counted

if TYPE_CHECKING:
    from detectron2.config import CfgNode

NAME = "maskal_train_tiles"


def cut_training_images(
    data: RunData, images: Sequence[str], folder: Path, config: CfgNode, seed: int
) -> DatasetSummary:
    """Cuts them into tiles below `folder` and names these NAME in the engine's catalog.

    Returns:
        What is in the tiles.
    """
    from active_learning.network.training import register_dataset

    plan = _plan(config, data.settings.most_pixels, seed)
    summary = write_tiles(data.annotations("train"), images, data.snapshot("train"), folder, plan)
    images_and_tiles = counted(len(images), "image"), counted(summary.images, "tile")
    text = "Training on %s: %s of %d pixels, %d of them with objects"
    logger.info(text, *images_and_tiles, plan.size, summary.images - summary.negatives)
    run_on_all_ranks(register_dataset, NAME, folder / FILE, folder, data.settings.classes)
    return summary


def _plan(config: CfgNode, most_pixels: int, seed: int) -> TilePlan:
    from active_learning.network.model_input import mean_colour

    mean = mean_colour(config)
    blue, green, red = mean if config.INPUT.FORMAT == "BGR" else mean[::-1]
    return TilePlan(config.INPUT.TILE_SIZE, config.INPUT.TILE_OVERLAP, (blue, green, red), seed, most_pixels)
