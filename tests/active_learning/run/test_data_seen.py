"""Images and annotations that come, go and change are logged by name, and the run goes on with what is there."""

from __future__ import annotations

import unicodedata

import pytest

from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import take_snapshot
from active_learning.errors import MaskALError
from active_learning.run.data_seen import DataSeen, named

USED = ["00.png", "01.png"]


def update(seen, split, folder, used):
    return seen.update(split, take_snapshot(folder), AnnotationCache(folder, ["a", "b"]), used)


@pytest.fixture
def seen(tmp_path, settings):
    seen = DataSeen(tmp_path / "data_seen.json")
    update(seen, "train", settings.traindir, USED)
    return seen


def changes(seen, settings):
    return [line.replace(str(settings.traindir), "D") for line in update(seen, "train", settings.traindir, USED)]


def test_nothing_changed_nothing_logged(seen, settings):
    assert changes(seen, settings) == []
    assert update(seen, "val", settings.valdir, ["00.png"]) == []


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
def test_what_changed_is_logged_by_name(seen, settings, action, line):
    action(settings.traindir)
    assert [text[: len(line)] for text in changes(seen, settings)] == [line]
    assert changes(seen, settings) == []


def test_accents_that_another_disk_stores_in_the_other_way_are_no_news(tmp_path, settings):
    seen, folder = DataSeen(tmp_path / "data_seen.json"), settings.traindir
    for form in ("NFD", "NFC"):
        used = unicodedata.normalize(form, "rübe.png")
        for path in folder.iterdir():
            path.rename(folder / used).with_suffix(path.suffix) if path.stem == "00" else None
        assert update(seen, "train", folder, [used]) == []


def test_changes_of_annotations_that_are_not_used_are_no_news(seen, settings):
    (settings.traindir / "09.json").write_text("{}", encoding="utf-8")
    assert changes(seen, settings) == []


def test_test_images_that_change_make_scores_incomparable(seen, settings):
    update(seen, "test", settings.testdir, ["00.png"])
    (settings.testdir / "x.jpg").write_bytes(b"x")
    assert "the mAP is of other images than before" in update(seen, "test", settings.testdir, ["00.png"])[0]


def test_a_damaged_file_is_named_and_stays(tmp_path, settings):
    """It also tells images that are gone with their drive from such that a person took away."""
    file = tmp_path / "m.json"
    file.write_text("{", encoding="utf-8")
    for use in (lambda: DataSeen(file).images("val"), lambda: changes(DataSeen(file), settings)):
        with pytest.raises(MaskALError, match=r"m\.json: cannot be read as what the run .*; put back a copy of the fi"):
            use()
    assert file.read_text(encoding="utf-8") == "{"


def test_images_that_any_experiment_has_seen_count(tmp_path, seen, settings):
    assert DataSeen(tmp_path / "none.json", tmp_path / "data_seen.json").images("train") == seen.images("train") != ()


def test_of_many_the_first_are_named():
    assert named(["a"]) == "1 image (a)"
    assert named([str(number) for number in range(9)]) == "9 images (0, 1, 2, 3, 4 and 4 more)"
