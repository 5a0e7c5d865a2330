"""The active learning loop: one method a phase, named as in the story (maskAL.py).

A phase that is done is written to the run's state, so that the same command goes on with the next one.
Loop 0 is the training on the initial images; a later loop trains on them and on all images chosen so far.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from active_learning.acquisition.acquire import Acquisition
from active_learning.acquisition.diverse_images import diverse_images
from active_learning.acquisition.record_files import remove_records
from active_learning.dataset.absence import is_there
from active_learning.dataset.coco import DatasetSummary, never_shown, summary_of, write_image_list
from active_learning.label_check.check import check_measured_images, check_new_images
from active_learning.label_check.review import offer_for_review
from active_learning.network.network_file import values_of_testing
from active_learning.report.page import try_to_write_report
from active_learning.run.data import MEASURED, SPLITS
from active_learning.run.initial_images import initial_images
from active_learning.run.output_files import write_scores, write_train_files
from active_learning.run.run import Run
from active_learning.run.state import LoopScores, RunState
from active_learning.run.status import late_annotations
from active_learning.run.weights import weights_of
from active_learning.settings import Experiment, Settings
from active_learning.system.files import copy_atomically
from active_learning.system.log import logger
from active_learning.system.wording import counted

STANDARD_THRESHOLD = 0.05
MEASURING = ("tile_size", "tile_overlap", "image_min_size", "image_max_size", "confidence_threshold", "nms_threshold")


class ActiveLearningLoop:
    """One experiment: a strategy with its settings, from the initial images to the last loop."""

    def __init__(
        self,
        settings: Settings,
        experiment: Experiment,
        *,
        wait: bool = True,
        read_settings: Callable[..., Settings] | None = None,
    ) -> None:
        """`read_settings` reads them again, with `check_paths` or without: people edit the file between loops.

        Raises:
            TypeError: `settings` are not those of load_settings, or `experiment` is not one of theirs.
        """
        if not isinstance(settings, Settings) or experiment not in settings.experiments():
            raise TypeError("give the settings of load_settings(...), and one of their settings.experiments()")
        self.wait = wait
        self.run = Run(settings, experiment, read_settings)
        self._val_and_test_of_loop = -1

    @property
    def finished(self) -> bool:
        return self.run.state.phase == "finished"

    def prepare_data(self) -> None:
        """Decides on the initial images; requests annotations of the validation and test images."""
        run, state = self.run, self.run.state
        logger.info("MaskAL, experiment %s/%s", run.settings.experiment_name, run.experiment.name)
        if state.train_images:
            if reason := run.reason_to_withdraw:
                self._withdraw(reason)
            logger.info("Going on with loop %d of %d: %s", state.loop, run.loops, state.phase)
        else:
            if run.settings.budget == "objects":
                run.save(phase="annotate")  # the run has begun, though it may have to wait for a person here
                self._prepare_val_and_test()  # these show how many objects an image holds
            diverse = functools.partial(diverse_images, run) if run.settings.initial_choice == "diverse" else None
            state.train_images = initial_images(run.data, run.experiment.seed, diverse)
            if run.settings.budget == "objects":
                logger.info("%s to start from", counted(len(state.train_images), "image"))
                _log_expected(run.data.mean_objects() * len(state.train_images))
            run.check_schedule()
            write_image_list(run.settings.dataroot / "initial_train.txt", state.train_images)
            run.save(phase="annotate")
        if state.phase == "train":  # an annotation may have been taken away meanwhile
            run.save(phase="annotate")
        if self._val_and_test_of_loop != state.loop:
            self._prepare_val_and_test()

    def _withdraw(self, reason: str) -> None:
        """Asks no more for the images of a loop that the settings, as they are now, do not have."""
        run, state = self.run, self.run.state
        images = [name for name in (*state.chosen, *state.ahead) if is_there(run.settings.traindir / name)]
        left = run.data.collect_last("train", state.train_images, images) or "none is left"
        logger.info("The images of loop %d are not needed, as %s: %s", state.loop, reason, left)
        state.withdraw_loop()
        run.save(phase="choose")

    def _prepare_val_and_test(self) -> None:
        data = self.run.data
        for split in MEASURED:
            images = data.images(split)
            begin_waiting = functools.partial(self.run.begin_waiting, split)
            data.request_annotations(split, images, wait=self.wait, before_waiting=begin_waiting)
            _warn(data.write(split, data.present(split, images)))  # one added meanwhile is asked for in the next loop
        self.run.end_waiting()
        self._val_and_test_of_loop = self.run.state.loop

    def annotate(self) -> None:
        """Requests annotations of the training images of this loop; those that have one are not asked for."""
        run, state = self.run, self.run.state
        if state.phase != "annotate":
            return
        run.reload_settings()
        if self._val_and_test_of_loop != state.loop:
            run.data.refresh()
            self._prepare_val_and_test()
        offered = offer_for_review(run)
        confirmed = run.data.request_annotations(
            "train",
            state.train_images,
            wait=self.wait,
            predict=run.predict,
            later=run.present_ahead,
            hold=run.works_ahead or bool(state.ahead),
            before_waiting=functools.partial(run.begin_waiting, "train"),
        )
        run.end_waiting(confirmed, batch=True)
        if offered:
            self._prepare_val_and_test()  # some of them are offered, too
        self._work_ahead()
        check_new_images(run)
        offer_for_review(run, ahead=True)
        run.save(phase="train")

    def _work_ahead(self) -> None:
        """Has the images of the next loop annotated while this one trains."""
        run, state = self.run, self.run.state
        if run.works_ahead and not state.ahead:
            self._choose_ahead()
        if not state.ahead:
            run.data.let_go()
            return
        if run.data.request_ahead(run.present_ahead, open_tool=self.wait, predict=run.predict):
            state.times_ahead.note_put(time.time())
        self._acquisition(ahead=True).explain(state.ahead)

    def _choose_ahead(self) -> None:
        """The newest network does, that of the loop before; what it chose is kept before anyone is asked for it."""
        run, state = self.run, self.run.state
        if not (pool := run.pool):
            return
        choice = self._acquisition(ahead=True).choose(pool, run.present_train_images)
        run.data.present("train", pool)  # what could not be read may have gone with its drive
        if not choice.certainty:
            logger.info("No images are chosen ahead for loop %d: %s", state.loop + 1, choice.why_none)
            return
        state.choose_ahead(choice.certainty, choice.expected_objects)
        run.save(phase="annotate")
        text = "%s chosen ahead for loop %d of %d, by the network of loop %d"
        logger.info(text, counted(len(choice.certainty), "image"), state.loop + 1, run.loops, state.loop - 1)
        _log_expected(state.expected_ahead)

    def train(self) -> None:
        """Trains on the images of this loop; keeps the weights that do best on the validation images."""
        from active_learning.network.resume_point import seconds_before

        run, state = self.run, self.run.state
        if state.phase != "train":
            return
        run.reload_settings()
        run.data.refresh("train")
        images = run.present_train_images
        if run.data.lacks_annotations("train", images):
            run.save(phase="annotate")  # one was taken away, or is being replaced, since they were all there
            return
        run.save(phase="train")  # what is trained now is of these settings, however it ends
        network = state.loop - 2 if state.chosen_ahead else None
        write_train_files(run.files.train_files(state.loop), images, state.chosen, network)
        summary = run.data.write("train", images)
        self._log_training_set(summary)
        state.train_size, state.train_objects = len(images), summary.objects
        run.data.leave_out_gone("val")
        measured_on = run.data.content_digest("val")
        for records in (run.files.pool_records(state.loop), run.files.training_records(state.loop)):
            remove_records(records)  # of other weights, where a person has put back an earlier state
        started = time.monotonic()
        trained_on = run.data.content_digest("train") if state.loop == 0 else ""
        earlier = run.earlier_initial_model(trained_on) if state.loop == 0 else None
        if earlier:
            self._take_initial_model(earlier)
        else:
            summary.require_objects(run.settings.traindir)
            self._compare_alike(measured_on)
            state.best_ap = run.network.train(state.loop, images, summary, state.best_ap, measured_on)
        state.best_ap_settings, state.best_ap_images = self._measuring_settings, measured_on
        if state.loop == 0:
            run.note_initial_model(trained_on)
        earlier_seconds = seconds_before(run.files.training_log(state.loop))
        state.train_minutes = (earlier_seconds + time.monotonic() - started) / 60
        run.save(phase="evaluate")

    @property
    def _measuring_settings(self) -> dict[str, Any]:
        inside = values_of_testing(self.run.network_values)
        return {"network_config": inside, **{key: self.run.state.settings.get(key) for key in MEASURING}}

    def _compare_alike(self, measured_on: str) -> None:
        """Measures the best weights again where that has changed what the mAP depends on, settings or validation data:
        else no training might reach what was measured with others, in tiles of another size or on easier images."""
        run, state = self.run, self.run.state
        changed = []
        now = self._measuring_settings  # of which an earlier version has recorded less, or nothing
        if any(value != now.get(key) for key, value in state.best_ap_settings.items()):
            changed.append("Settings that the mAP depends on")
        if state.best_ap_images not in ("", measured_on):  # "": the same
            changed.append("Validation images or their annotations")
        if not changed or state.loop == 0 or not run.files.best_model(state.loop - 1).exists():
            return
        before = state.best_ap
        self._measure_best(state.loop - 1)
        text = "%s were changed: the best weights have %.1f with them (before: %.1f)"
        logger.info(text, ", ".join(changed), state.best_ap, before)

    def _measure_best(self, loop: int) -> None:
        mask_ap = self.run.network.evaluate(loop, "val", [self.run.settings.confidence_threshold])[0].mask_ap
        self.run.state.best_ap = 0.0 if math.isnan(mask_ap) else mask_ap  # no later one would be above NaN

    def _take_initial_model(self, model: Path) -> None:
        """It stands in for the first training."""
        run = self.run
        logger.info("Taking the initial model of an earlier run: %s", model)
        copy_atomically(model, run.files.best_model(0))
        self._measure_best(0)

    def evaluate(self) -> None:
        """Scores the weights of this loop on the test images; one row in the csv files."""
        from active_learning.network.resume_point import remove_resume_points

        run, state = self.run, self.run.state
        if state.phase != "evaluate":
            return
        remove_resume_points(run.files.training_log(state.loop))
        run.data.leave_out_gone("test")
        thresholds = [run.settings.confidence_threshold, STANDARD_THRESHOLD]
        at_threshold, standard = run.network.evaluate(state.loop, "test", thresholds)
        state.history.append(
            LoopScores(
                train_size=state.train_size or len(state.train_images),
                mask_ap=at_threshold.mask_ap,
                per_class=at_threshold.per_class,
                standard_mask_ap=standard.mask_ap,
                standard_per_class=standard.per_class,
                minutes=state.train_minutes,
                objects=state.train_objects,
                person_minutes=state.times.person_minutes,
                computer_minutes=state.times.computer_minutes,
                measured_with=self._measuring_settings,
            )
        )
        write_scores(run.files, state.history, run.settings.classes)
        run.save(phase="choose")
        self._write_report()
        if not run.reason_to_stop:
            logger.info("\n%s\n", run.table_of_loops())

    def choose_images(self) -> None:
        """Chooses the images that the next loop adds, or takes those chosen ahead; without a next loop the run is
        finished."""
        run, state = self.run, self.run.state
        if state.phase != "choose":
            return
        check_measured_images(run)
        run.reload_settings()
        run.data.refresh()
        run.data.log_changes("train", state.train_images)
        reason, pool = run.reason_to_stop, run.pool
        if not reason and not pool and not state.ahead:
            reason = "every image of traindir is in the training set, the pool is empty"
        if not reason:
            reason = self._score_for_later(pool) if state.ahead else self._choose(pool)
        if reason:
            self._finish(reason)
            return
        run.save(phase="annotate")
        self._write_report()
        logger.info("%s chosen for loop %d of %d", counted(len(state.chosen), "image"), state.loop, run.loops)
        _log_expected(state.expected_objects)

    def _choose(self, pool: Sequence[str]) -> str:
        """Why no image can be chosen; "" where some are."""
        run, acquisition = self.run, self._acquisition()
        choice = acquisition.choose(pool, run.present_train_images)
        run.data.present("train", pool)  # what could not be read may have gone with its drive
        if choice.certainty:
            acquisition.explain(choice.certainty)
            run.state.begin_next_loop(choice.certainty, choice.expected_objects)
        return choice.why_none

    def _score_for_later(self, pool: Sequence[str]) -> str:
        """The images chosen ahead are those of the next loop. What comes after is chosen by the network of this one as
        soon as they are annotated: the pool is scored now, so that nobody waits for it then."""
        run, state = self.run, self.run.state
        if pool and run.settings.work_ahead and state.loop + 1 < run.loops:
            self._acquisition().score(pool)
            run.data.present("train", pool)
        state.begin_next_loop(state.ahead, state.expected_ahead, ahead=True)
        return ""

    def _finish(self, reason: str) -> None:
        """What a person has annotated ahead, or corrected, is collected."""
        run = self.run
        used = {"train": run.state.train_images, **{split: run.data.walked(split).images for split in MEASURED}}
        for split, images in used.items():
            if left := run.data.collect_last(split, images, run.present_ahead if split == "train" else ()):
                logger.info("The images chosen ahead for loop %d are not needed now: %s", run.state.loop + 1, left)
        run.data.let_go()
        run.finish(reason)

    def _acquisition(self, *, ahead: bool = False) -> Acquisition:
        """By the network of this loop; `ahead` by that of the loop before, which may have chosen the loop's images."""
        run, state = self.run, self.run.state
        loop = state.loop - ahead
        scored = state.chosen if ahead and not state.chosen_ahead else {}
        return Acquisition(
            run.settings,
            run.experiment,
            run.files,
            loop,
            for_loop=state.loop + 1,
            network=lambda: run.network.config,
            weights=weights_of(run.files, loop),
            class_counts=self._objects_annotated if ahead else lambda: state.train_objects,
            chosen_before=[name for name in scored if is_there(run.settings.traindir / name)],
        )

    def _objects_annotated(self) -> dict[str, int]:
        """Of each class in the training set, before it is trained on."""
        run = self.run
        found = run.data.annotated("train", run.present_train_images)
        return summary_of([*found.values()], run.settings.classes).objects

    def report(self) -> None:
        """The table of all loops, and where the files are."""
        run = self.run
        self._write_report()
        logger.info("Finished: %s.\n\n%s\n", run.state.why_finished, run.table_of_loops())
        for line in (line for split in SPLITS for line in late_annotations(run.data, split, finished=True)):
            logger.warning("%s", line)
        logger.info("Results: %s\nWeights: %s", run.files.results, weights_of(run.files, run.state.loop))

    def _write_report(self) -> None:
        try_to_write_report(self.run.files.results.parent)

    def _log_training_set(self, summary: DatasetSummary) -> None:
        objects = ", ".join(f"{count} {name}" for name, count in summary.objects.items())
        images = counted(summary.images, "image")
        logger.info("Loop %d of %d: training on %s with %s", self.run.state.loop, self.run.loops, images, objects)
        if summary.negatives:
            logger.info("%d of the images hold no object", summary.negatives)
        if absent := never_shown(summary.objects):
            logger.warning("%s", absent)
        if self.run.state.expected_objects:
            self._log_budget(self.run.state)
        _warn(summary)

    def _log_budget(self, state: RunState) -> None:
        found = counted(self.run.data.count_objects("train", list(state.chosen)), "object")
        logger.info("The %d chosen ones hold %s; %.0f were expected", len(state.chosen), found, state.expected_objects)


def _log_expected(objects: float) -> None:
    if objects:
        logger.info("They are expected to hold %.0f objects (budget: objects)", objects)


def _warn(summary: DatasetSummary) -> None:
    for warning in summary.warnings:
        logger.warning("%s", warning)
