"""One experiment's run: its settings, files, state, data and network, opened where an earlier start left it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from active_learning.annotating.request import Predict
from active_learning.dataset.absence import absence_error
from active_learning.dataset.tile_files import remove_tiles
from active_learning.network.network_config import training_iterations
from active_learning.network.network_file import network_values, read_network_file, reload_network_file
from active_learning.run.data import RunData
from active_learning.run.data_seen import DataSeen
from active_learning.run.network import RunNetwork
from active_learning.run.output_files import output_files
from active_learning.run.own_folders import claim, read_mark
from active_learning.run.state import Phase, RunState
from active_learning.run.weights import earlier_initial_model, has_weights
from active_learning.settings import Experiment, Settings
from active_learning.settings.changes import (
    OF_INITIAL_IMAGES,
    OF_INITIAL_MODEL,
    AppliedSettings,
    apply_settings,
    network_changes,
    recorded,
    reload_settings,
)
from active_learning.system.files import DRAFT
from active_learning.system.log import logger, start_log

if TYPE_CHECKING:
    from detectron2.config import CfgNode


class Run:
    """What the phases of a loop work on; `settings`, `experiment` and `network_file`, the config that the network's own
    file holds, are those in use."""

    def __init__(
        self, settings: Settings, experiment: Experiment, read_settings: Callable[..., Settings] | None = None
    ) -> None:
        """`read_settings` reads them again, with `check_paths` or without: people edit the file between loops."""
        self._read_settings = read_settings
        self.files = output_files(settings, experiment)
        self.state = self._open_state(settings.classes)
        network_file = read_network_file(settings.network_config)
        applied = self._applied(settings, experiment, network_file, running=False)
        claim(self.files)
        self._remove_drafts(settings.dataroot)
        start_log(self.files.log)
        self.data = RunData(applied.settings, DataSeen(self.files.data_seen))
        self._use(applied, network_file)
        self.data.spell(self.state)

    @property
    def network_values(self) -> dict[str, Any]:
        """What the network's own file has in place of defaults."""
        return network_values(self.network_file)

    @property
    def loops(self) -> int:
        return len(self.experiment.pool_sizes)

    @property
    def present_train_images(self) -> list[str]:
        """The training images, less those that a person has taken away."""
        return self.data.present("train", self.state.train_images)

    @property
    def pool(self) -> list[str]:
        """The images of traindir that are no training images, sorted, less those that the next loop adds."""
        return sorted(set(self.data.images("train")) - set(self.state.train_images) - set(self.state.ahead))

    @property
    def present_ahead(self) -> list[str]:
        """The images that were chosen for the next loop, less those that a person has taken away."""
        if not self.state.ahead:
            return []
        there = set(self.data.present("train", [*self.state.train_images, *self.state.ahead]))
        return [name for name in self.state.ahead if name in there]

    @property
    def works_ahead(self) -> bool:
        """Whether the images of the next loop are chosen before this one trains."""
        return self.settings.work_ahead and self.state.loop > 0 and not self.reason_to_stop

    @property
    def reason_to_stop(self) -> str:
        """Empty where the run goes on."""
        return self.state.reason_to_end(self.state.loop, self.settings, self.experiment)

    @property
    def reason_to_withdraw(self) -> str:
        """As of the state; empty where the images are wanted."""
        trains = self.files.training_log(self.state.loop).exists()
        return self.state.reason_to_withdraw(self.settings, self.experiment, trains=trains)

    @property
    def predict(self) -> Predict | None:
        """Pre-labels images by the newest network, before this loop trains; None where they are not wanted."""
        if not self.settings.auto_annotate or self.state.loop == 0:
            return None
        return functools.partial(self.network.pre_label, self.state.loop - 1)

    def earlier_initial_model(self, data: str) -> Path | None:
        """One that stands in for the first training on such images and annotations."""
        images, network = self.state.train_images, self.network_values
        return earlier_initial_model(self.settings, self.experiment, images, network, data)

    def note_initial_model(self, data: str) -> None:
        """What the first training, on such images and annotations, was made with."""
        dropout = self.experiment.dropout_probability
        self.state.initial_settings = {**self.state.settings, "dropout_probability": dropout}
        self.state.initial_network, self.state.initial_data = self.network_values, data

    def check_schedule(self) -> None:
        """Raises SettingsError where the training of the last loop would never end."""
        chosen = sum(self.experiment.pool_sizes)
        training_iterations(min(len(self.state.train_images) + chosen, len(self.data.images("train"))), self.settings)

    def table_of_loops(self) -> str:
        """A row a loop: train size, mAP and its change, AP of each class, minutes; and those of waiting, if there was
        any, and objects, where the budget counts them."""
        rows, history, classes = [], self.state.history, self.settings.classes
        waited = any(scores.waited for scores in history)
        in_objects = self.settings.budget == "objects"
        for loop, scores in enumerate(history):
            change = f"{scores.mask_ap - history[loop - 1].mask_ap:+.1f}" if loop else ""
            per_class = [scores.per_class[name] for name in classes]
            numbers = [f"{number:.1f}" for number in (*per_class, scores.standard_mask_ap, scores.minutes)]
            numbers += [f"{number:.1f}" for number in scores.waiting] if waited else []
            size = [str(scores.train_size), *([scores.all_objects] if in_objects else [])]
            rows.append([str(loop), *size, f"{scores.mask_ap:.1f}", change, *numbers])
        size_headers = ["train size", *(["objects"] if in_objects else [])]
        headers = ["loop", *size_headers, "mAP", "change", *classes, "mAP at 0.05", "minutes"]
        headers += ["person waited", "computer waited"] if waited else []
        return tabulate(rows, headers=headers, disable_numparse=True, stralign="right")

    def reload_settings(self) -> None:
        """Called where a loop begins: with choosing, and again after a person has annotated.

        Raises:
            MaskALError: a folder of the run is gone with its drive.
            SettingsError: the settings are wrong now, or an edit would break the run.
        """
        if found := self.absence():
            raise absence_error(found)
        if self._read_settings is not None:
            now = reload_settings(self._read_settings, self.settings)
            network_file = reload_network_file(now.network_config, self.network_file)
            self._use(self._applied(now, self.experiment, network_file, running=True), network_file)

    def save(self, *, phase: Phase) -> None:
        """Notes that `phase` comes next. Raises MaskALError where a folder of the run is gone with its drive."""
        if phase == "evaluate":
            self.state.network = self.network_values  # weights of it are there from now on
        if found := self.absence():  # a folder that was made anew in its place would begin another run
            raise absence_error(found)
        self.state.phase = phase
        self.state.save(self.files.state)

    def begin_waiting(self, split: str) -> None:
        """Images of a split lie in the annotate folder, and the run cannot go on before they are annotated."""
        now = time.time()
        if split == "train":
            self.state.times.note_put(now)
        self.state.times.begin_waiting(now)
        self.save(phase=self.state.phase)

    def end_waiting(self, confirmed: float = 0.0, *, batch: bool = False) -> None:
        """The images are annotated; with `batch` those that this loop adds, which a person may have confirmed."""
        times, now = self.state.times, time.time()
        waited = times.end_waiting(now)
        if batch and times.put and (waited or not times.handed_in):
            saved = self.data.last_saved("train", list(self.state.chosen) or self.state.train_images)
            times.note_handed_in(max(saved, confirmed), now)
        if waited:
            self.save(phase=self.state.phase)

    def absence(self) -> str:
        """Which folder of the run is gone with its drive, in words; "" for none."""
        for folder in (self.files.results, self.files.weights):
            if read_mark(folder) is None:
                return f"{folder}: the folder of the run is not there any more"
        return self.data.absence()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Inside it the phases go on. At the end the annotation tool ends, and others may use the annotate folder.

        Raises:
            MaskALError: as `absence_explained`.
        """
        try:
            with self.absence_explained():
                yield
        finally:
            self.data.let_go()

    @contextmanager
    def absence_explained(self) -> Iterator[None]:
        """Inside it a failure that comes of a folder that is gone is reported as that.

        Raises:
            MaskALError: a folder is not there.
        """
        try:
            yield
        except Exception as error:
            if found := self.absence():
                raise absence_error(found) from error
            raise

    def finish(self, reason: str) -> None:
        remove_tiles(self.files.training_tiles)
        self.state.why_finished = reason
        self.save(phase="finished")

    def _open_state(self, classes: Sequence[str]) -> RunState:
        if not self.files.state.exists():
            return RunState(classes=list(classes))
        state = RunState.load(self.files.state)
        state.check_going_on(self.files.state)
        if state.phase == "finished":
            state.phase = "choose"  # more loops may have been asked for since
        return state

    def _remove_drafts(self, dataroot: Path) -> None:
        """Those of a start that was killed; nobody else writes there now."""
        own = (self.files.results, self.files.weights)
        shared = {dataroot, *(folder.parent for folder in own)}
        drafts = [draft for folder in own for draft in folder.rglob(f"*{DRAFT}")]
        drafts += [draft for folder in shared for draft in folder.glob(f"*{DRAFT}")]
        for draft in drafts:
            with suppress(OSError):  # it does no harm
                draft.unlink()

    def _applied(
        self, settings: Settings, experiment: Experiment, network_file: CfgNode, *, running: bool
    ) -> AppliedSettings:
        """Raises SettingsError where they, or the network's file, were edited in a way that would break the run."""
        state = self.state
        return apply_settings(
            state.settings,
            settings,
            experiment,
            running=running,
            chosen_for=state.loop_ahead,
            network_edits=network_changes(state.network, network_values(network_file)),
            has_weights=has_weights(self.files, state),
            over=(
                *(OF_INITIAL_IMAGES if state.train_images else ()),
                *(OF_INITIAL_MODEL if state.is_trained else ()),
            ),
        )

    def _use(self, applied: AppliedSettings, network_file: CfgNode) -> None:
        self.settings, self.experiment, self.network_file = applied.settings, applied.experiment, network_file
        self.state.classes = list(self.settings.classes)
        self.state.settings = recorded(self.settings)
        self.state.experiment = self.experiment.recorded()
        if self.state.network:
            self.state.network = self.network_values
        self.data.apply(self.settings)
        self.network = RunNetwork(self.settings, self.experiment, network_file, self.files, self.data)
        if applied.lines:
            logger.info("Settings that were changed:%s", "".join(f"\n  {line}" for line in applied.lines))
