"""The first images by what the network to start from makes of them: k-means clusters, one image of each."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from active_learning.dataset.near_duplicates import files_digest
from active_learning.errors import MaskALError
from active_learning.run.run import Run
from active_learning.run.weights import start_weights
from active_learning.sampling.k_means import central_images
from active_learning.sampling.pool_record import PoolRecord, rounded
from active_learning.system.log import logger
from active_learning.system.processes import ranks, run_on_all_ranks

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RANDOM_WEIGHTS = (
    "The network starts from random weights (pretrained_weights is empty): to initial_choice diverse, which goes by "
    "its features, images differ in colours and textures, not in what they show"
)


def diverse_images(run: Run, images: Sequence[str], count: int) -> list[str]:
    """`count` of these images of traindir (or all that can be read, where they are fewer), the same for the same seed.

    Features are kept beside the experiments' folders, as all of them start from the same network.

    Raises:
        MaskALError: none of the images can be read, or the weights cannot be used.
    """
    settings, weights = run.settings, start_weights(run.settings, run.files, 0)
    if not weights:
        logger.warning("%s", RANDOM_WEIGHTS)
    logger.info("Looking once at each of %d images, to start with images that differ", len(images))
    records = run_on_all_ranks(
        describe_images,
        run.network.config,
        weights,
        settings.traindir,
        images,
        records_file=run.files.initial_records,
        conditions=_conditions(run, weights, images),
    )
    if not records:
        raise MaskALError(f"{settings.traindir}: none of the {len(images)} images can be read (the log says why)")
    names = list(records)
    features = np.stack([record.features for record in records.values()]).astype(np.float64)
    chosen = central_images(features, min(count, len(names)), random.Random(run.experiment.seed))
    return [names[index] for index in chosen]


def _conditions(run: Run, weights: str, images: Sequence[str]) -> dict[str, object]:
    """What features depend on, the images included: this file outlives a run."""
    settings = run.settings
    return {
        "network": run.network_values,
        "weights": files_digest(Path(), [weights]),
        "image_sizes": [settings.image_min_size, settings.image_max_size],
        **({"tiles": [settings.tile_size, settings.tile_overlap]} if settings.tile_size else {}),
        "images": files_digest(settings.traindir, images),
    }


def describe_images(
    cfg: CfgNode,
    weights: str,
    folder: Path,
    images: Sequence[str],
    *,
    records_file: Path,
    conditions: Mapping[str, object],
) -> dict[str, PoolRecord]:
    """Records of images of a folder that hold their features alone; each process computes its share of them."""
    from active_learning.acquisition.pool_scoring import score_pool
    from active_learning.network.image_batches import ImageInput, read_images
    from active_learning.network.image_features import ImageFeatures, start_network

    features = ImageFeatures(start_network(cfg, weights), cfg)

    def describe(image: ImageInput) -> PoolRecord:
        height, width = image.content["height"], image.content["width"]
        return PoolRecord(image.name, math.nan, height, width, (), rounded(features(image.name, image.content)))

    return score_pool(
        images,
        lambda names: read_images(folder, names, cfg),
        describe,
        records_file=records_file,
        conditions=conditions,
        ranks=ranks(),
    )
