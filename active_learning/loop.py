"""The active learning loop: one method a phase, named as in the story (maskAL.py).

A phase that is done is written to the run's state, so that the same command goes on with the next one.
Loop 0 is the training on the initial images; a later loop trains on them and on all images chosen so far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from active_learning.acquisition.acquire import Acquisition
from active_learning.dataset.coco import DatasetSummary, write_image_list
from active_learning.run.comparing import shared_initial_model
from active_learning.run.data import RunData
from active_learning.run.data_seen import DataMemory
from active_learning.run.output_files import ScoreRow, output_files, write_scores, write_train_files
from active_learning.run.state import LoopScores, RunState
from active_learning.settings import Experiment, Settings
from active_learning.settings.changes import TakenUp, recorded, reread, take_up
from active_learning.system.files import copy_atomically, move_aside
from active_learning.system.log import logger, start_log
from active_learning.system.processes import together

if TYPE_CHECKING:
    from active_learning.annotations import Annotation
    from active_learning.network.evaluation import Scores
    from active_learning.network.image_batches import UnreadableImage
    from detectron2.config import CfgNode

STANDARD_THRESHOLD = 0.05


def use_devices(settings: Settings) -> None:
    """Shows PyTorch the GPUs of the settings alone; works only before torch is first used."""
    ids = settings.cuda_visible_devices
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if ids == "cpu" else ids


def start_over(settings: Settings) -> None:
    """Moves an earlier run of that name aside."""
    for root in (settings.resultsroot, settings.weightsroot):
        moved = move_aside(root / settings.experiment_name)
        if moved:
            print(f"The earlier run is kept in {moved}")


class ActiveLearningLoop:
    """One experiment: a strategy with its settings, from the initial images to the last loop."""

    def __init__(
        self,
        settings: Settings,
        experiment: Experiment,
        *,
        wait: bool = True,
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        """`read_settings` reads them again: people edit the file between loops."""
        self.wait = wait
        self._read_settings = read_settings
        self.files = output_files(settings, experiment)
        self.state = self._open_state(settings)
        taken_up = take_up(self.state.settings, settings, experiment, running=False)
        self.files.make_folders()
        start_log(self.files.log)
        self._use(taken_up)

    @property
    def finished(self) -> bool:
        return self.state.phase == "finished"

    @property
    def loops(self) -> int:
        return len(self.experiment.pool_sizes)

    def prepare_data(self) -> None:
        """Decides on the initial images; has the validation and test images annotated."""
        logger.info("MaskAL, experiment %s/%s", self.settings.experiment_name, self.experiment.name)
        if self.state.train_images:
            logger.info("Going on with loop %d of %d: %s", self.state.loop, self.loops, self.state.phase)
        else:
            self.state.train_images = self.data.initial_images(self.experiment.seed)
            write_image_list(self.settings.dataroot / "initial_train.txt", self.state.train_images)
            self._save(phase="annotate")
        if self.state.phase == "train":  # an annotation may have been taken away meanwhile
            self._save(phase="annotate")
        self._prepare_val_and_test()

    def _prepare_val_and_test(self) -> None:
        for split in ("val", "test"):
            images = self.data.images(split)
            self.data.have_annotated(split, images, wait=self.wait)
            self._warn(self.data.write(split, self.data.present(split, images)))
        self._prepared_loop = self.state.loop

    def annotate(self) -> None:
        """Has the training images of this loop annotated; those that have an annotation are not asked for."""
        if self.state.phase != "annotate":
            return
        self._take_up_settings()
        if self._prepared_loop != self.state.loop:
            self._prepare_val_and_test()
        draw = self._pre_label if self.settings.auto_annotate and self.state.loop > 0 else None
        self.data.have_annotated("train", self.state.train_images, wait=self.wait, draw=draw)
        self._save(phase="train")

    def train(self) -> None:
        """Trains on the images of this loop; keeps the weights that do best on the validation images."""
        if self.state.phase != "train":
            return
        self._take_up_settings()
        loop, images = self.state.loop, self._present_images()
        write_train_files(self.files.train_files(loop), images, self.state.chosen)
        summary = self.data.write("train", images)
        self._say_what_is_trained_on(summary)
        self.state.train_objects = summary.objects
        started = time.monotonic()
        earlier = self._earlier_initial_model()
        if earlier:
            self._take_initial_model(earlier)
        else:
            self._train_network(summary)
        self.state.train_size = len(images)
        self.state.train_minutes = (time.monotonic() - started) / 60
        self._save(phase="evaluate")

    def evaluate(self) -> None:
        """Scores the weights of this loop on the test images; one row in the csv files."""
        from active_learning.network.resume_point import remove_resume_points

        if self.state.phase != "evaluate":
            return
        remove_resume_points(self.files.training_log(self.state.loop))
        at_threshold, standard = self._scores("test", [self.settings.confidence_threshold, STANDARD_THRESHOLD])
        self.state.history.append(
            LoopScores(
                train_size=self.state.train_size or len(self.state.train_images),
                mask_ap=at_threshold.mask_ap,
                per_class=at_threshold.per_class,
                standard_mask_ap=standard.mask_ap,
                standard_per_class=standard.per_class,
                minutes=self.state.train_minutes,
                objects=self.state.train_objects,
            )
        )
        self._write_scores()
        self._save(phase="choose")
        self._write_report()
        if not self._reason_to_stop():
            logger.info("\n%s\n", self._table())

    def choose_images(self) -> None:
        """Chooses the images that the next loop adds; without a next loop the run is finished."""
        if self.state.phase != "choose":
            return None
        self._take_up_settings()
        self.data.tell_changes("train", self.state.train_images)
        reason, pool = self._reason_to_stop(), self._pool()
        if not reason and not pool:
            reason = "every image of traindir is in the training set, the pool is empty"
        if reason:
            return self._finish(reason)
        choice = self._acquisition().choose(pool, self._present_images())
        chosen = choice.certainty
        if not chosen:
            return self._finish(choice.why_none)
        self.state.loop += 1
        self.state.chosen = chosen
        self.state.train_images = [*self.state.train_images, *chosen]
        self._save(phase="annotate")
        self._write_report()
        logger.info("%d images chosen for loop %d of %d", len(chosen), self.state.loop, self.loops)
        return None

    def report(self) -> None:
        """The table of all loops, and where the files are."""
        self._write_report()
        logger.info("Finished: %s.\n\n%s\n", self.state.why_finished, self._table())
        logger.info("Results: %s\nWeights: %s", self.files.results, self._weights())

    def _write_report(self) -> None:
        from active_learning.report.page import try_to_write_report

        try_to_write_report(self.files.results.parent)

    def _train_network(self, summary: DatasetSummary) -> None:
        from active_learning.network.network_config import training_config
        from active_learning.network.training import train

        loop = self.state.loop
        before = self.files.best_model(loop - 1) if loop > 0 else None
        config = training_config(
            self._network,
            self.settings,
            image_count=summary.images,
            class_images=summary.images_with,
            train_dataset=self.data.register("train"),
            val_dataset=self.data.register("val"),
            weights=self._start_weights(),
            output_dir=self.files.training_log(loop),
        )
        config.SEED = self.experiment.seed + loop
        if summary.bitmaps:
            config.INPUT.MASK_FORMAT = "bitmask"  # the engine's polygons have no holes
        result = together(
            train,
            config,
            best_model=self.files.best_model(loop),
            best_ap=self.state.best_ap,
            final_model=self.files.final_model,
            best_before=before if before and before.exists() else None,
        )
        self.state.best_ap = result.best_ap

    def _earlier_initial_model(self) -> Path | None:
        """That of the run that initial_train_file names, or of an experiment that starts as this one does."""
        if self.state.loop > 0:
            return None
        if self.settings.duplicate_initial_model_and_data:
            return self.data.earlier_initial_model()
        return shared_initial_model(self.settings, self.experiment, self.state.train_images)

    def _take_initial_model(self, model: Path) -> None:
        """It stands in for the first training."""
        logger.info("Taking the initial model of an earlier run: %s", model)
        copy_atomically(model, self.files.best_model(0))
        self.state.best_ap = self._scores("val", [self.settings.confidence_threshold])[0].mask_ap

    def _scores(self, split: str, thresholds: Sequence[float]) -> list[Scores]:
        from active_learning.network.evaluation import evaluate_weights

        return together(evaluate_weights, self._network, self._weights(), self.data.register(split), thresholds)

    @cached_property
    def _network(self) -> CfgNode:
        from active_learning.network.network_config import network_config

        return network_config(self.settings, self.experiment)

    def _start_weights(self) -> str:
        from active_learning.network.network_config import pretrained_weights

        if self.state.loop > 0 and self.settings.transfer_learning_on_previous_models:
            for path in (self.files.best_model(self.state.loop - 1), self.files.final_model):
                if path.exists():
                    return str(path)
        return pretrained_weights(self.settings)

    def _pre_label(self, folder: Path, images: Sequence[str]) -> Iterable[Annotation | UnreadableImage]:
        """What the network of the last loop sees in the images."""
        from active_learning.network.pre_labelling import PreLabeller
        from active_learning.network.prediction import load_network

        model = load_network(self._network, self._weights(self.state.loop - 1))
        return PreLabeller(model, self._network, self.settings.classes)(folder, images)

    def _weights(self, loop: int | None = None) -> Path:
        """The best of a loop, of this one where none is given; else the newest."""
        best = self.files.best_model(self.state.loop if loop is None else loop)
        return best if best.exists() else self.files.final_model

    def _present_images(self) -> list[str]:
        """The training images, less those that a person has taken away."""
        return self.data.present("train", self.state.train_images)

    def _pool(self) -> list[str]:
        return sorted(set(self.data.images("train")) - set(self.state.train_images))

    def _acquisition(self) -> Acquisition:
        return Acquisition(
            self.settings,
            self.experiment,
            self.files,
            self.state.loop,
            network=lambda: self._network,
            weights=self._weights(),
            class_counts=lambda: self.data.write("train", self._present_images()).objects,
        )

    def _reason_to_stop(self) -> str:
        """Empty where the run goes on."""
        reached = [row.mask_ap for row in self.state.history]
        target, patience = self.settings.target_map, self.settings.patience
        if self.state.loop >= self.loops:
            return f"loop {self.loops} of {self.loops} is done"
        if target is not None and reached[-1] >= target:
            return f"mAP {reached[-1]:.1f} has reached target_map {target:g}"
        if patience is not None and len(reached) > patience and max(reached[-patience:]) <= max(reached[:-patience]):
            return f"mAP has not risen for {patience} loops (patience)"
        return ""

    def _finish(self, reason: str) -> None:
        self.state.why_finished = reason
        self._save(phase="finished")

    def _open_state(self, settings: Settings) -> RunState:
        if not self.files.state.exists():
            return RunState(classes=list(settings.classes))
        state = RunState.load(self.files.state)
        state.settings.setdefault("classes", state.classes)
        if state.phase == "finished":
            state.phase = "choose"  # more loops may have been asked for since
        return state

    def _take_up_settings(self) -> None:
        """Called where a loop begins: with choosing, and again after a person has annotated."""
        if self._read_settings is not None:
            self._use(take_up(self.state.settings, reread(self._read_settings), self.experiment, running=True))

    def _use(self, taken_up: TakenUp) -> None:
        self.settings, self.experiment = taken_up.settings, taken_up.experiment
        self.state.settings = recorded(self.settings)
        self.data = RunData(self.settings, DataMemory(self.files.data_seen))
        self.__dict__.pop("_network", None)  # is made of the settings
        if taken_up.lines:
            logger.info("Settings that were changed:%s", "".join(f"\n  {line}" for line in taken_up.lines))

    def _save(self, *, phase: str) -> None:
        self.state.phase = phase
        self.state.save(self.files.state)

    def _write_scores(self) -> None:
        rows, classes = self.state.history, self.settings.classes
        write_scores(self.files.scores, [ScoreRow(r.train_size, r.mask_ap, r.per_class) for r in rows], classes)
        standard = [ScoreRow(r.train_size, r.standard_mask_ap, r.standard_per_class) for r in rows]
        write_scores(self.files.standard_scores, standard, classes)

    def _table(self) -> str:
        history = self.state.history
        rows = []
        for loop, scores in enumerate(history):
            change = f"{scores.mask_ap - history[loop - 1].mask_ap:+.1f}" if loop else ""
            per_class = [scores.per_class[name] for name in self.settings.classes]
            numbers = [f"{number:.1f}" for number in (*per_class, scores.standard_mask_ap, scores.minutes)]
            rows.append([str(loop), str(scores.train_size), f"{scores.mask_ap:.1f}", change, *numbers])
        headers = ["loop", "train size", "mAP", "change", *self.settings.classes, "mAP at 0.05", "minutes"]
        return tabulate(rows, headers=headers, disable_numparse=True, stralign="right")

    def _say_what_is_trained_on(self, summary: DatasetSummary) -> None:
        objects = ", ".join(f"{count} {name}" for name, count in summary.objects.items())
        count = f"{summary.images} image" + ("" if summary.images == 1 else "s")
        logger.info("Loop %d of %d: training on %s with %s", self.state.loop, self.loops, count, objects)
        if summary.negatives:
            logger.info("%d of the images hold no object", summary.negatives)
        self._warn(summary)

    def _warn(self, summary: DatasetSummary) -> None:
        for warning in summary.warnings:
            logger.warning("%s", warning)
