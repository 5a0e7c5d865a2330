from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.system.own_files import OwnFiles
from active_learning.system.written_files import RECORD


@pytest.fixture
def own(tmp_path):
    files = OwnFiles(tmp_path)
    for name, image in (("a.json", "a.png"), ("b.json", "b.png"), ("meta.json", "")):
        (tmp_path / name).write_text(name, encoding="utf-8")
        files.add(tmp_path / name, image)
    return files


def test_a_changed_file_is_a_persons(own, tmp_path):
    (tmp_path / "b.json").write_text("corrected", encoding="utf-8")
    for files in (own, OwnFiles(tmp_path)):
        assert files.is_untouched(tmp_path / "a.json")
        assert not files.is_untouched(tmp_path / "b.json")
        assert not files.is_untouched(tmp_path / "gone.json")
        assert not files.is_untouched(tmp_path.parent / "a.json")


def test_a_persons_files_come_before_untouched_ones(own, tmp_path):
    mine = tmp_path / "sub" / "a.json"
    assert own.persons_first([tmp_path / "a.json", mine]) == [mine]
    assert own.persons_first([tmp_path / "a.json", tmp_path / "b.json"]) == [tmp_path / "a.json", tmp_path / "b.json"]
    assert own.persons_first([tmp_path / "a.json"]) == [tmp_path / "a.json"]


def test_only_untouched_files_of_these_images_are_removed(own, tmp_path):
    own.remove(["a.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["b.json", "meta.json", RECORD])
    (tmp_path / "b.json").write_text("corrected", encoding="utf-8")
    OwnFiles(tmp_path).remove(["a.png", "b.png"])
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_a_record_that_was_cut_off_is_read_as_far_as_it_goes(own, tmp_path):
    record = tmp_path / RECORD
    record.write_text(record.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    files = OwnFiles(tmp_path)
    assert files.is_untouched(tmp_path / "b.json")
    assert not files.is_untouched(tmp_path / "meta.json")


def test_nothing_recorded_nothing_removed(tmp_path):
    (tmp_path / "a.json").touch()
    OwnFiles(tmp_path).remove(["a.png"])
    assert (tmp_path / "a.json").exists()


def test_a_file_that_is_saved_anew_at_this_moment_is_a_persons(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")
    files = OwnFiles(tmp_path)
    files.add(tmp_path / "a.json", "a.png")
    (tmp_path / "a.json").unlink()
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert not files.is_untouched(tmp_path / "a.json")


def test_a_file_is_noted_before_it_has_its_name(tmp_path: Path):
    """A kill in between leaves a note without a file, and not a prediction that counts as a person's annotation."""
    draft, file = tmp_path / "draft", tmp_path / "a.json"
    draft.write_text("predicted", encoding="utf-8")
    OwnFiles(tmp_path).add(file, "a.png", draft)
    assert not OwnFiles(tmp_path).is_untouched(file)
    draft.rename(file)
    assert OwnFiles(tmp_path).is_untouched(file)
    file.write_text("a person's", encoding="utf-8")
    OwnFiles(tmp_path).remove(["a.png"])
    assert file.exists()
