"""A person's file in dataroot is kept, MaskAL's own is written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.dataset import data_files
from active_learning.dataset.data_files import RECORD, foreign_data_files, write_data_file


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name != RECORD}


def test_own_files_are_written_over(tmp_path: Path):
    for text in ("one", "two", "two", "three"):
        write_data_file(tmp_path / "train.json", text)
    assert contents(tmp_path) == {"train.json": "three"}


def test_each_file_of_a_person_is_kept_and_that_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "train.json"
    path.write_text("mine", encoding="utf-8")
    assert foreign_data_files(tmp_path) == [path]
    write_data_file(path, "one")
    path.write_text("edited", encoding="utf-8")
    write_data_file(path, "two")
    assert contents(tmp_path) == {"train.json": "two", "train.json.orig": "mine", "train.json.orig2": "edited"}
    assert "train.json was not written by MaskAL: it is kept as train.json.orig2" in caplog.text
    assert foreign_data_files(tmp_path) == []


def test_drafts_of_others_stay(tmp_path: Path):
    (tmp_path / "train.json.tmp").write_text("mine", encoding="utf-8")
    write_data_file(tmp_path / "train.json", "one")
    assert contents(tmp_path) == {"train.json.tmp": "mine", "train.json": "one"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"train.json": 1}'])
def test_with_a_damaged_record_all_is_a_persons(tmp_path: Path, text: str):
    write_data_file(tmp_path / "train.json", "one")
    (tmp_path / RECORD).write_text(text, encoding="utf-8")
    write_data_file(tmp_path / "train.json", "two")
    assert contents(tmp_path) == {"train.json": "two", "train.json.orig": "one"}


def test_a_link_of_a_person_is_kept_and_what_it_leads_to_stays(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("mine", encoding="utf-8")
    (tmp_path / "train.json").symlink_to("elsewhere")
    write_data_file(tmp_path / "train.json", "one")
    assert contents(tmp_path) == {"elsewhere": "mine", "train.json": "one", "train.json.orig": "mine"}
    assert not (tmp_path / "train.json").is_symlink()


def test_a_stop_between_record_and_file_keeps_it_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "train.json"
    write_data_file(path, "one")

    def stop(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_files, "draft_of_new", stop)
    with pytest.raises(KeyboardInterrupt):
        write_data_file(path, "two")
    monkeypatch.undo()
    write_data_file(path, "three")
    assert contents(tmp_path) == {"train.json": "three"}
    assert not list(tmp_path.glob(".maskal-taken*"))
