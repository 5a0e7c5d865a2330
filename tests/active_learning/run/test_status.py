from __future__ import annotations

import pytest

from active_learning.run.output_files import output_files
from active_learning.run.state import LoopScores, RunState
from active_learning.run.status import describe_status
from active_learning.settings import Settings
from active_learning.settings.changes import recorded
from active_learning.system.own_files import OwnFiles
from tests.active_learning.conftest import annotated_image


def test_each_experiment_has_its_paragraph(settings: Settings):
    both = Settings(**{**settings.model_dump(), "strategy": ["uncertainty", "random"]})
    (settings.traindir / "03.json").unlink()
    state = RunState(["a", "b"], 1, "annotate", ["01.png", "02.png", "03.png"])
    state.history.append(LoopScores(2, 41.25, {}, 43.0, {}, 1.0))
    state.save(output_files(both, both.experiments()[0]).state)
    first, second = describe_status(both).split("\n\nExperiment ")
    assert first.startswith("Experiment exp1/uncertainty: loop 1 of 2, phase annotate\n")
    assert "3 training images: 2 annotated, 1 missing" in first
    assert [line.split() for line in first.splitlines()][-1] == ["0", "2", "41.2"]
    assert second == "exp1/random: not started"


def test_a_run_on_a_drive_that_is_gone_is_not_said_to_be_none(settings: Settings):
    assert describe_status(settings) == "Experiment exp1/uncertainty: not started"
    settings.valdir.rename(settings.valdir.with_name("away"))
    assert f"not started, or out of reach: {settings.valdir} is not there; is its drive" in describe_status(settings)


def test_what_stands_in_the_annotate_folders_counts(settings: Settings):
    annotate = settings.traindir / "annotate"
    annotate.mkdir()
    for name in ("01.json", "02.json"):
        (settings.traindir / name).rename(annotate / name)
    OwnFiles(annotate).add(annotate / "02.json", "02.png")
    (settings.traindir / "03.json").unlink()
    (settings.valdir / "00.json").unlink()
    annotated_image(settings.testdir / "02.png")
    annotated_image(settings.testdir / "02.jpg")
    (settings.testdir / "02.json").write_bytes((settings.testdir / "01.json").read_bytes())  # of the one or the other
    RunState(["a", "b"], 0, "annotate", ["01.png", "02.png", "03.png"]).save(
        output_files(settings, settings.experiments()[0]).state
    )
    *lines, doubtful = describe_status(settings).splitlines()[1:]
    assert lines == [
        "3 training images: 2 annotated (1 of them pre-labelled, nothing corrected yet), 1 missing",
        "2 validation images: 1 annotated, 1 missing",
        "4 test images: 2 annotated, 2 with a fault, 0 missing",
    ]
    assert "02.json: may be of 02.jpg or 02.png" in doubtful


@pytest.mark.parametrize("copy", [False, True], ids=["with its annotation", "its annotated copy lies in annotate"])
def test_images_that_a_person_has_taken_away_are_not_awaited(settings: Settings, copy: bool):
    annotate = settings.traindir / "annotate"
    annotate.mkdir()
    for name in ("03.png", "03.json"):
        if copy:
            (settings.traindir / name).rename(annotate / name)
        else:
            (settings.traindir / name).unlink()
    RunState(["a", "b"], 0, "annotate", ["01.png", "03.png"]).save(
        output_files(settings, settings.experiments()[0]).state
    )
    lines = describe_status(settings).splitlines()[1:]
    assert lines[0] == f"2 training images: 1 annotated, 0 missing, 1 gone from {settings.traindir}"
    assert lines[1].startswith("2 validation images")


def test_a_faulty_annotation_is_named_and_not_counted(settings: Settings):
    annotate = settings.traindir / "annotate"
    annotate.mkdir()
    good = (settings.traindir / "01.json").read_text()
    (settings.traindir / "01.json").unlink()
    (settings.traindir / "02.json").unlink()
    (settings.traindir / "04.json").write_text("{", encoding="utf-8")
    (annotate / "01.json").write_text(good.replace('"label": "', '"label": "misspelt '))
    RunState(["a", "b"], 0, "annotate", ["01.png", "02.png", "03.png", "04.png"]).save(
        output_files(settings, settings.experiments()[0]).state
    )
    first, beside, fault = describe_status(settings).splitlines()[1:4]
    assert first == "4 training images: 1 annotated, 2 with a fault, 1 missing"
    assert str(settings.traindir / "04.json") in beside
    assert str(annotate / "01.json") in fault
    assert "misspelt" in fault


def test_a_finished_run_names_its_reason(settings: Settings):
    state = RunState(["a", "b"], 2, "finished", ["01.png"], why_finished="loop 2 of 2 is done")
    state.history += [LoopScores(2, 41.25, {}, 43.0, {}, 1.0)] * 3
    state.save(output_files(settings, settings.experiments()[0]).state)
    status = describe_status(settings)
    assert "Finished: loop 2 of 2 is done." in status
    assert "The next start" not in status


def test_a_run_that_the_settings_do_not_ask_for_any_more_is_named(settings: Settings):
    before = settings.model_copy(update={"strategy": "random"})
    state = RunState(["a", "b"], 0, "annotate", ["01.png"], settings=recorded(before))
    state.save(path := output_files(before, before.experiments()[0]).state)
    first, second = describe_status(settings).split("\n\n")
    assert first == "Experiment exp1/uncertainty: not started"
    assert second.startswith(f"{path.parent}: this run is not finished (loop 0, phase annotate)")


def test_a_finished_run_whose_loops_were_raised_goes_on(settings: Settings):
    (annotate := settings.traindir / "annotate").mkdir()
    text = (settings.traindir / "01.json").read_text(encoding="utf-8")
    (annotate / "01.json").write_text(text.replace('"a"', '"b"'), encoding="utf-8")
    state = RunState(["a", "b"], 1, "finished", ["01.png"], why_finished="loop 1 of 1 is done")
    state.history += [LoopScores(2, 41.25, {}, 43.0, {}, 1.0)] * 2
    state.save(output_files(settings, settings.experiments()[0]).state)
    status = describe_status(settings)
    assert "Finished: loop 1 of 1 is done.\nThe next start looks for the images of loop 2." in status
    assert "the next loop uses it" in status


@pytest.mark.parametrize(
    ("phase", "use"),
    [("train", "the next loop uses it"), ("finished", "only a further loop uses it (raise loops)")],
)
def test_what_was_saved_after_collecting_is_named(settings: Settings, phase: str, use: str):
    annotate = settings.traindir / "annotate"
    annotate.mkdir()
    text = (settings.traindir / "01.json").read_text(encoding="utf-8")
    (annotate / "01.json").write_text(text.replace('"a"', '"b"'), encoding="utf-8")
    (annotate / "02.json").write_text("{", encoding="utf-8")
    loop = 2 if phase == "finished" else 0
    state = RunState(["a", "b"], loop, phase, ["01.png", "02.png"])
    state.history += [LoopScores(2, 41.25, {}, 43.0, {}, 1.0)] * (loop + (phase == "finished"))
    state.save(output_files(settings, settings.experiments()[0]).state)
    status = describe_status(settings)
    assert "01.json: was saved after the annotation of 01.png had been collected; " in status
    assert use in status
    assert "half-written" in status
    assert "until then the annotation beside the image is used" in status


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_whose_drive_is_gone_do_not_hide_where_a_run_stands(settings: Settings, split: str):
    RunState(["a", "b"], 0, "annotate", ["01.png"]).save(output_files(settings, settings.experiments()[0]).state)
    folder = {"train": settings.traindir, "val": settings.valdir, "test": settings.testdir}[split]
    folder.rename(folder.with_name("away"))
    lines = describe_status(settings).splitlines()
    assert lines[0].endswith("loop 0 of 2, phase annotate")
    assert sum(line.endswith(f"not counted, {folder} is not there; is its drive connected?") for line in lines) == 1
    assert sum(" annotated, " in line for line in lines) == 2
