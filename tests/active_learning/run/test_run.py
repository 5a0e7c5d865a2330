"""What a run does when it is opened."""

from __future__ import annotations

import unicodedata
from contextlib import nullcontext

import pytest

from active_learning.errors import SettingsError
from active_learning.run.project import Project
from active_learning.run.run import Run
from active_learning.run.start import find_start
from active_learning.run.status import describe_status
from active_learning.system.files import DRAFT


def test_what_a_killed_start_left_half_written_goes(settings):
    experiment = settings.experiments()[0]
    run = Run(settings, experiment)
    run.save(phase="annotate")
    files = run.files
    own = [files.results, files.results / "label_check", files.weights / "tiles" / "key", files.results.parent]
    drafts = [folder / f"a.json{DRAFT}" for folder in (*own, files.weights.parent, settings.dataroot)]
    others = [settings.dataroot / "images" / f"a.png{DRAFT}", files.results / "a.json"]
    for path in (*drafts, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Run(settings, experiment)
    assert not any(path.exists() for path in drafts)
    assert all(path.exists() for path in others)


def test_a_run_goes_on_where_a_disk_stores_accents_in_the_other_way(settings):
    composed, decomposed = (unicodedata.normalize(form, "rübe.png") for form in ("NFC", "NFD"))
    for suffix in (".png", ".json"):
        (settings.traindir / f"00{suffix}").rename((settings.traindir / decomposed).with_suffix(suffix))
    experiment = settings.experiments()[0]
    run = Run(settings, experiment)
    run.state.train_images = ["01.png", decomposed]
    run.save(phase="train")
    run.data.log_changes("train", run.state.train_images)
    for suffix in (".png", ".json"):
        (settings.traindir / decomposed).with_suffix(suffix).rename((settings.traindir / composed).with_suffix(suffix))
    again = Run(settings, experiment)
    assert again.present_train_images == ["01.png", composed]
    assert composed not in again.pool and len(again.pool) == 12
    assert find_start(Project(settings), experiment).training_images == ["01.png", composed]
    assert "2 training images: 2 annotated, 0 missing\n" in describe_status(settings)


def test_the_network_is_built_of_what_was_checked(settings, tmp_path):
    """Not of a file that a person edits after it: it would be trained before anyone has compared it."""
    file = tmp_path / "own.yaml"
    file.write_text("MODEL: {MASK_ON: true, RESNETS: {DEPTH: 101}}\n", encoding="utf-8")
    settings = settings.model_copy(update={"network_config": str(file)})
    run = Run(settings, settings.experiments()[0])
    file.write_text("MODEL: {MASK_ON: true, RESNETS: {DEPTH: 50}}\n", encoding="utf-8")
    assert run.network.config.MODEL.RESNETS.DEPTH == run.network_values["MODEL.RESNETS.DEPTH"] == 101


@pytest.mark.parametrize(
    ("phase", "trains", "is_taken"),
    [("annotate", False, True), ("train", False, True), ("train", True, False), ("evaluate", False, False)],
)
def test_classes_may_be_edited_until_the_first_training_begins(settings, phase, trains, is_taken):
    """As where a person finds another one while the first images are annotated."""
    experiment = settings.experiments()[0]
    run = Run(settings, experiment)
    run.state.train_images = ["00.png", "01.png"]
    run.save(phase=phase)
    run.files.training_log(0).mkdir()  # of one that failed before it had a checkpoint
    if trains:  # as ResumePoint does, long before there are best weights
        (run.files.training_log(0) / "resume").mkdir()
        (run.files.training_log(0) / "resume" / "1f_0000009.pth").touch()
    edited = settings.model_copy(update={"classes": ("a", "b", "c")})
    with nullcontext() if is_taken else pytest.raises(SettingsError, match=r"classes: \[a, b\] -> \[a, b, c\]"):
        find_start(Project(edited), experiment)
    with nullcontext() if is_taken else pytest.raises(SettingsError, match=r"classes: \[a, b\] -> \[a, b, c\]"):
        assert Run(edited, experiment).state.classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("key", "value", "images", "phase", "is_over"),
    [
        ("initial_datasize", 7, [], "annotate", False),
        ("initial_datasize", 7, ["00.png", "01.png"], "annotate", True),
        ("duplicate_initial_model_and_data", True, ["00.png", "01.png"], "annotate", False),
        ("duplicate_initial_model_and_data", True, ["00.png", "01.png"], "evaluate", True),
    ],
)
def test_an_edit_of_what_is_done_is_said_to_have_no_effect(settings, key, value, images, phase, is_over):
    experiment = settings.experiments()[0]
    run = Run(settings, experiment)
    run.state.train_images = images
    run.save(phase=phase)
    log = Run(settings.model_copy(update={key: value}), experiment).files.log.read_text(encoding="utf-8")
    assert f"{key}: " in log
    assert ("of no effect" in log) == is_over
