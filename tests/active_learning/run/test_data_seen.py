"""Images and annotations that come, go and change are told by name, and the run goes on with what is there."""

from __future__ import annotations

import pytest

from active_learning.run.data_seen import DataMemory, named


@pytest.fixture
def memory(tmp_path, settings):
    memory = DataMemory(tmp_path / "data_seen.json")
    memory.update("train", settings.traindir, ["00.png", "01.png"])
    return memory


def changes(memory, settings):
    return [line.replace(str(settings.traindir), "D") for line in memory.update("train", settings.traindir, USED)]


USED = ["00.png", "01.png"]


def test_nothing_changed_nothing_said(memory, settings):
    assert changes(memory, settings) == []
    assert memory.update("val", settings.valdir, ["00.png"]) == []


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (lambda d: (d / "new.png").write_bytes(b"x"), "New in D: 1 image (new.png); from now on in the pool"),
        (lambda d: (d / "05.png").unlink(), "Gone from D: 1 image (05.png); no longer in the pool"),
        (lambda d: (d / "01.png").unlink(), "Gone from D: 1 image (01.png); the run goes on without, until it is the"),
        (lambda d: (d / "00.json").unlink(), "Without annotation in D, though it had one: 1 image (00.png); it is ask"),
        (lambda d: (d / "00.json").write_text("{}"), "Annotated anew in D: 1 image (00.png); what is there now is us"),
    ],
    ids=["new", "gone from the pool", "gone from the training", "annotation gone", "annotation changed"],
)
def test_what_changed_is_told_by_name(memory, settings, action, line):
    action(settings.traindir)
    assert [text[: len(line)] for text in changes(memory, settings)] == [line]
    assert changes(memory, settings) == []


def test_changes_of_annotations_that_are_not_used_are_no_news(memory, settings):
    (settings.traindir / "09.json").write_text("{}", encoding="utf-8")
    assert changes(memory, settings) == []


def test_test_images_that_change_make_scores_incomparable(memory, settings):
    memory.update("test", settings.testdir, ["00.png"])
    (settings.testdir / "x.jpg").write_bytes(b"x")
    assert "the mAP is of other images than before" in memory.update("test", settings.testdir, ["00.png"])[0]


def test_a_damaged_memory_is_made_anew(tmp_path, settings):
    (tmp_path / "m.json").write_text("{", encoding="utf-8")
    memory = DataMemory(tmp_path / "m.json")
    assert memory.update("train", settings.traindir, USED) == []
    (settings.traindir / "05.png").unlink()
    assert changes(memory, settings) == ["Gone from D: 1 image (05.png); no longer in the pool"]


def test_of_many_the_first_are_named():
    assert named(["a"]) == "1 image (a)"
    assert named([str(number) for number in range(9)]) == "9 images (0, 1, 2, 3, 4 and 4 more)"
