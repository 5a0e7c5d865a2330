"""Where an experiment begins or goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from active_learning.dataset.initial_images import images_to_copy
from active_learning.run.project import INITIAL, Project
from active_learning.settings import Experiment
from active_learning.settings.changes import apply_settings


@dataclass(frozen=True)
class Start:
    """With these training images, which lie in `folder` until they are copied, of the number `images`, in this loop and
    phase."""

    training_images: Sequence[str]
    images: int
    folder: str = "train"
    loop: int = 0
    phase: str = ""  # of a run that has begun


def find_start(project: Project, experiment: Experiment) -> Start:
    """Raises MaskALError where the run would refuse to begin or to go on."""
    settings, data = project.settings, project.data
    if state := project.state(experiment):
        state.check_going_on(project.files(experiment).state)
        apply_settings({"classes": state.classes, **state.settings}, settings, experiment, running=False)
        present = data.present("train", state.train_images)
        return Start(present, len(data.images("train")), loop=state.loop, phase=state.phase)
    if settings.use_initial_train_dir:
        initial = images_to_copy(settings.initial_train_dir, settings.traindir)
        return Start([*initial], len({*data.walked("train").images, *initial}), INITIAL)
    return Start(data.initial_images(experiment.seed), len(data.images("train")))
