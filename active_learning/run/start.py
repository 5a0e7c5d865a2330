"""Where an experiment begins or goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from active_learning.dataset.initial_images import images_to_copy, sample_initial_images
from active_learning.run.initial_images import initial_images, initial_size
from active_learning.run.output_files import output_files
from active_learning.run.project import INITIAL, Project
from active_learning.run.state import RunState
from active_learning.run.weights import has_weights, network_edits
from active_learning.settings import Experiment, Settings
from active_learning.settings.changes import apply_settings


@dataclass(frozen=True)
class Start:
    """With `size` training images of the number `images`, in this loop and phase.

    `training_images`: lie in `folder` until they are copied; None where the run has still to choose them.
    """

    size: int
    images: int
    training_images: Sequence[str] | None = None
    folder: str = "train"
    loop: int = 0
    phase: str = ""  # of a run that has begun
    ahead: int = 0  # images that are chosen for the next loop already
    ends: str = ""  # why the run has no training left; empty where it goes on


def find_start(project: Project, experiment: Experiment) -> Start:
    """Raises MaskALError where the run would refuse to begin or to go on."""
    settings, data = project.settings, project.data
    if state := project.state(experiment):
        state.check_going_on(project.files(experiment).state)
        edits = network_edits(state, settings)
        begun = has_weights(project.files(experiment), state)
        apply_settings(state.settings, settings, experiment, running=False, network_edits=edits, has_weights=begun)
        if state.train_images:
            present = data.present("train", state.train_images)
            images, ahead = len(data.images("train")), len(state.ahead)
            ends = reason_to_end(state, settings, experiment)
            return Start(len(present), images, present, loop=state.loop, phase=state.phase, ahead=ahead, ends=ends)
    if settings.use_initial_train_dir:
        initial = images_to_copy(settings.initial_train_dir, settings.traindir)
        return Start(len(initial), len({*data.walked("train").images, *initial}), [*initial], INITIAL)
    images = len(data.images("train"))
    if settings.duplicate_initial_model_and_data:
        earlier = initial_images(data, experiment.seed)
        return Start(len(earlier), images, earlier)
    if settings.budget == "objects" and not data.mean_objects():
        return Start(min(settings.initial_datasize, images), images)  # at most; the run asks for annotations first
    return Start(initial_size(data), images)


def reason_to_end(state: RunState, settings: Settings, experiment: Experiment) -> str:
    """Why the next start trains no more, as far as the settings say; empty where it does, or has scores to find."""
    if state.phase in ("choose", "finished"):
        return state.reason_to_end(state.loop, settings, experiment)
    trains = output_files(settings, experiment).training_log(state.loop).exists()
    return state.reason_to_withdraw(settings, experiment, trains=trains)


def is_finished(state: RunState, settings: Settings, experiment: Experiment) -> bool:
    """Also False for a run that ran out of images, or whose settings have got more loops since."""
    return state.phase == "finished" and bool(reason_to_end(state, settings, experiment))


def initial_candidates(project: Project, experiment: Experiment) -> Sequence[str]:
    """The images that a run which has not begun will start from; all of traindir where only the run finds that out.

    Raises:
        MaskALError: there are too few.
    """
    images, groups = project.data.images("train"), project.near_duplicates
    if groups is None or project.settings.initial_choice != "random":
        return images
    return sample_initial_images(images, initial_size(project.data), experiment.seed, groups).names
