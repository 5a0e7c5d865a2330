"""A run's network: trained, evaluated and asked for pre-labels with the run's settings, files and data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.dataset.coco import DatasetSummary
from active_learning.dataset.tile_files import remove_tiles
from active_learning.run.data import RunData
from active_learning.run.output_files import OutputFiles
from active_learning.run.training_tiles import NAME as TILES
from active_learning.run.training_tiles import cut_training_images
from active_learning.run.weights import start_weights, weights_of
from active_learning.settings import Experiment, Settings
from active_learning.system.processes import run_on_all_ranks

if TYPE_CHECKING:
    from active_learning.annotations import Annotation
    from active_learning.network.evaluation import Scores
    from active_learning.network.image_batches import UnreadableImage
    from detectron2.config import CfgNode


@dataclass
class RunNetwork:
    """The network that these settings and this file ask for; others make another one."""

    settings: Settings
    experiment: Experiment
    file: CfgNode
    files: OutputFiles
    data: RunData

    @cached_property
    def config(self) -> CfgNode:
        from active_learning.network.network_config import network_config

        return network_config(self.settings, self.experiment, self.file)

    def train(
        self, loop: int, images: Sequence[str], summary: DatasetSummary, best_ap: float, measured_on: str
    ) -> float:
        """Trains on the images of `train.json`, which `summary` counts, or on their tiles; the best weights become
        those of the loop.

        Args:
            best_ap: the best mask AP on the validation images so far, in percent.
            measured_on: their digest.

        Returns:
            The best so far after this training.
        """
        from active_learning.network.training import train

        before = self.files.best_model(loop - 1) if loop > 0 else None
        return run_on_all_ranks(
            train,
            self._training_config(loop, images, summary),
            best_model=self.files.best_model(loop),
            best_ap=best_ap,
            final_model=self.files.final_model,
            best_before=before if before and before.exists() else None,
            measured_on=measured_on,
        )

    def _training_config(self, loop: int, images: Sequence[str], summary: DatasetSummary) -> CfgNode:
        from active_learning.network.network_config import training_config

        dataset = self.data.register("train")
        if self.settings.tile_size:
            dataset, folder = TILES, self.files.training_tiles
            summary = cut_training_images(self.data, images, folder, self.config, self.experiment.seed)
        else:
            remove_tiles(self.files.training_tiles)  # of a loop before, with other settings
        config = training_config(
            self.config,
            self.settings,
            image_count=summary.images,
            class_images=summary.images_with,
            train_dataset=dataset,
            val_dataset=self.data.register("val"),
            weights=start_weights(self.settings, self.files, loop),
            output_dir=self.files.training_log(loop),
        )
        config.SEED = self.experiment.seed + loop
        if summary.bitmaps:
            config.INPUT.MASK_FORMAT = "bitmask"  # the engine's polygons have no holes
        return config

    def evaluate(self, loop: int, split: str, thresholds: Sequence[float]) -> list[Scores]:
        """Those of the loop's weights on the images of a split, at each score threshold."""
        from active_learning.network.evaluation import evaluate_weights

        weights, dataset = weights_of(self.files, loop), self.data.register(split)
        return run_on_all_ranks(evaluate_weights, self.config, weights, dataset, thresholds)

    def pre_label(self, loop: int, folder: Path, images: Sequence[str]) -> Iterable[Annotation | UnreadableImage]:
        """What the loop's weights predict in images of a folder."""
        from active_learning.network.pre_labelling import PreLabeller
        from active_learning.network.prediction import load_network

        model = load_network(self.config, weights_of(self.files, loop))
        return PreLabeller(model, self.config, self.settings.classes)(folder, images)
