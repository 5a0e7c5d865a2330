"""Acquisition: the images that a loop adds. The network scores the pool, a strategy chooses from it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from active_learning.acquisition.explain import explain_images, least_certain
from active_learning.acquisition.explanation import is_explained
from active_learning.errors import MaskALError
from active_learning.run.output_files import OutputFiles, write_pool_scores
from active_learning.sampling.budget import expected_objects, images_for
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.pool import Pool
from active_learning.sampling.pool_record import PoolRecord, record_of
from active_learning.sampling.strategies import STRATEGIES, Strategy, choose_images
from active_learning.settings import Experiment, Settings
from active_learning.system.files import file_stamp
from active_learning.system.log import logger
from active_learning.system.processes import ranks, run_on_all_ranks
from active_learning.system.wording import counted

if TYPE_CHECKING:
    from detectron2.config import CfgNode

ALL_TOO_ALIKE = "every image that is left is too like one of the training set (min_distance)"
NOTHING_DETECTED = (
    "the network sees nothing in the images that are left, so none can be chosen; train longer, or set "
    "images_without_detections to choose"
)


@dataclass(frozen=True)
class ChosenImages:
    """`certainty` of each image, first choice first, NaN where none was computed; `why_none` where it is empty.

    `expected_objects`: in all of them, where the budget counts objects.
    """

    certainty: dict[str, float]
    why_none: str = ""
    expected_objects: float = 0.0


@dataclass(frozen=True)
class Acquisition:
    """Chooses the images that one loop adds, by the network of an earlier one.

    Attributes:
        loop: that of the network; its records of images are kept under this number.
        for_loop: the one that adds the images, which gives their number and the random numbers.
        network: gives the network's config; called only where images are scored.
        weights: of the network.
        class_counts: gives the objects of each class in the training set; called only where a strategy needs them.
        chosen_before: images of this network's pool that it has chosen before; their records are kept.
    """

    settings: Settings
    experiment: Experiment
    files: OutputFiles
    loop: int
    for_loop: int
    network: Callable[[], CfgNode]
    weights: Path
    class_counts: Callable[[], Mapping[str, int]]
    chosen_before: Sequence[str] = ()

    def choose(self, pool: Sequence[str], training_images: Sequence[str]) -> ChosenImages:
        """At most pool_size images of the pool (sorted names), or images of about so many objects.

        An image that `score` has a record of is not scored again.
        """
        scored = self.score(pool)
        records = {name: scored[name] for name in pool if name in scored}
        if self._scores_pool and not records:
            return ChosenImages({}, f"none of the {len(pool)} images that are left can be read (the log says why)")
        what_there_is = self._pool(list(records or pool), records, training_images)
        chosen = choose_images(
            self.experiment.strategy,
            what_there_is,
            images_without_detections=self.settings.images_without_detections,
            min_distance=self.settings.min_distance,
        )
        if chosen.held_back:
            logger.info("%s held back as too like another (min_distance)", counted(len(chosen.held_back), "image"))
        if not chosen.names:
            return ChosenImages({}, ALL_TOO_ALIKE if chosen.held_back else NOTHING_DETECTED)
        certainty = {name: records[name].value if name in records else math.nan for name in chosen.names}
        expected = math.fsum(what_there_is.costs.get(name, 0.0) for name in chosen.names)
        return ChosenImages(certainty, expected_objects=expected)

    def explain(self, certainty: Mapping[str, float]) -> None:
        """Keeps why the least certain of the chosen images are that; the run goes on where it cannot."""
        images, folder = least_certain(certainty), self.files.why_chosen(self.for_loop - 1)
        if not images or is_explained(folder, images):
            return
        where = (self.settings, self.experiment, folder)
        try:
            explain_images(*where, cfg=self._sampling_config(), weights=self.weights, images=images)
        except (OSError, MaskALError) as error:
            logger.warning("The report will not show why these images were chosen: %s", error)

    @property
    def _strategy(self) -> Strategy:
        return STRATEGIES[self.experiment.strategy]

    @property
    def _scores_pool(self) -> bool:
        return self._strategy.needs_forward_passes or self.settings.min_distance > 0

    def score(self, pool: Sequence[str]) -> dict[str, PoolRecord]:
        """The record of each image that can be read, kept for `choose`; empty where the strategy needs none."""
        if not self._scores_pool:
            return {}
        passes, images = self.experiment.mcd_iterations, sorted({*pool, *self.chosen_before})
        text = "Looking %d times at each of the %d images of the pool (forward passes with dropout)"
        logger.info(text, passes, len(images))
        records = self._records(images, passes, self.files.pool_records(self.loop))
        write_pool_scores(self.files.pool_scores(self.loop), {name: one.value for name, one in records.items()})
        return records

    def _sampling_config(self) -> CfgNode:
        """The network's, with the threshold above which detections count in choosing."""
        threshold = self.settings.sampling_threshold
        if threshold is None:
            threshold = self._strategy.sampling_threshold
        cfg = self.network()
        if threshold is not None:
            cfg = cfg.clone()
            cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
        return cfg

    def _records(self, images: Sequence[str], passes: int, file: Path) -> dict[str, PoolRecord]:
        return run_on_all_ranks(
            score_images,
            self._sampling_config(),
            self.weights,
            self.settings.traindir,
            images,
            passes=passes,
            seed=self.experiment.seed,
            iou_threshold=self.settings.iou_thres,
            mode=self.experiment.mode,
            records_file=file,
        )

    def _pool(self, names: Sequence[str], records: Mapping[str, PoolRecord], training_images: Sequence[str]) -> Pool:
        compares = self._strategy.needs_training_features or self.settings.min_distance > 0
        by_objects = self.settings.budget == "objects"
        counts = self.class_counts() if self._strategy.needs_class_counts or by_objects else {}
        number = self.for_loop - 1
        size = self.experiment.pool_sizes[number]
        costs: dict[str, float] = {}
        if by_objects:
            mean = sum(counts.values()) / len(training_images)
            costs = expected_objects(names, records, mean)
        return Pool(
            names=names,
            records=records,
            mode=self.experiment.mode,
            count=images_for(size, costs) if costs else size,
            rng=random.Random(f"{self.experiment.seed} {number}"),
            training_features=self._training_features(training_images) if compares else None,
            class_counts=[counts.get(name, 0) for name in self.settings.classes],
            loop=number,
            loops=len(self.experiment.pool_sizes),
            costs=costs,
            budget=size if costs else None,
        )

    def _training_features(self, images: Sequence[str]) -> npt.NDArray[np.float32]:
        """(M, C). Features do not depend on dropout, so one pass is enough."""
        logger.info("Looking once at each of the %d images of the training set, to compare with them", len(images))
        records = self._records(sorted(images), 1, self.files.training_records(self.loop))
        if not records:
            raise MaskALError(f"{self.settings.traindir}: none of the {len(images)} training images can be read")
        return np.stack([record.features for record in records.values()])


def score_images(
    cfg: CfgNode,
    weights: Path,
    folder: Path,
    images: Sequence[str],
    *,
    passes: int,
    seed: int,
    iou_threshold: float,
    mode: str,
    records_file: Path,
) -> dict[str, PoolRecord]:
    """The records of images of a folder, kept in `records_file`; each process scores its share of them."""
    from active_learning.acquisition.pool_scoring import score_pool
    from active_learning.network.image_batches import ImageInput, read_images
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import load_network

    sampler = MonteCarloDropout(load_network(cfg, weights), cfg, passes=passes, seed=seed)

    def score(image: ImageInput) -> PoolRecord:
        found = sampler.forward_passes(image.name, image.content)
        certainty = certainty_of(found.passes, iou_threshold=iou_threshold, mode=mode)
        return record_of(image.name, found, certainty, file_stamp(folder / image.name))

    return score_pool(
        images,
        lambda names: read_images(folder, names, cfg),
        score,
        records_file=records_file,
        conditions={**sampler.conditions, "iou_threshold": iou_threshold, "mode": mode},
        is_current=lambda record: not record.stamp or record.stamp == file_stamp(folder / record.name),  # earlier: none
        ranks=ranks(),
    )
