"""Where an experiment begins or goes on."""

from __future__ import annotations

from dataclasses import dataclass

from active_learning.dataset.initial_images import images_to_copy
from active_learning.run.project import Project
from active_learning.settings import Experiment
from active_learning.settings.changes import apply_settings


@dataclass(frozen=True)
class Start:
    """With `size` training images of `images`, in this loop and phase."""

    size: int
    images: int
    loop: int = 0
    phase: str = ""  # of a run that has begun


def find_start(project: Project, experiment: Experiment) -> Start:
    """Raises MaskALError where the run would refuse to begin or to go on."""
    settings, data = project.settings, project.data
    if state := project.state(experiment):
        state.check_going_on(project.files(experiment).state)
        apply_settings({"classes": state.classes, **state.settings}, settings, experiment, running=False)
        if state.train_images:
            size = len(data.present("train", state.train_images))
            return Start(size, len(data.images("train")), state.loop, state.phase)
    if settings.use_initial_train_dir:
        initial = images_to_copy(settings.initial_train_dir, settings.traindir)
        return Start(len(initial), len({*data.walked("train").images, *initial}))
    images = len(data.images("train"))
    if settings.budget == "objects" and not settings.duplicate_initial_model_and_data and not data.mean_objects():
        return Start(min(settings.initial_datasize, images), images)  # at most; the run asks for annotations first
    return Start(data.initial_size(), images)
