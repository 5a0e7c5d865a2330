"""A person's file is kept, MaskAL's own is written over."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from filelock import FileLock

from active_learning.system import written_files
from active_learning.system.written_files import RECORD, files_of_others, only_program, only_writer, write_own


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name != RECORD}


def test_own_files_are_written_over(tmp_path: Path):
    for text in ("one", "two", "two", "three"):
        write_own(tmp_path / "train.json", text)
    assert contents(tmp_path) == {"train.json": "three"}


def test_each_file_of_a_person_is_kept_and_that_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "train.json"
    path.write_text("mine", encoding="utf-8")
    assert files_of_others(tmp_path, ["train.json"]) == [path]
    write_own(path, "one")
    path.write_text("edited", encoding="utf-8")
    write_own(path, "two")
    assert contents(tmp_path) == {"train.json": "two", "train.json.orig": "mine", "train.json.orig2": "edited"}
    assert "train.json was not written by MaskAL: it is kept as train.json.orig2" in caplog.text
    assert files_of_others(tmp_path, ["train.json"]) == []


def test_drafts_of_others_stay(tmp_path: Path):
    (tmp_path / "train.json.tmp").write_text("mine", encoding="utf-8")
    write_own(tmp_path / "train.json", "one")
    assert contents(tmp_path) == {"train.json.tmp": "mine", "train.json": "one"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"train.json": 1}'])
def test_with_a_damaged_record_all_is_a_persons(tmp_path: Path, text: str):
    write_own(tmp_path / "train.json", "one")
    (tmp_path / RECORD).write_text(text, encoding="utf-8")
    write_own(tmp_path / "train.json", "two")
    assert contents(tmp_path) == {"train.json": "two", "train.json.orig": "one"}


def test_a_link_of_a_person_is_kept_and_what_it_leads_to_stays(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("mine", encoding="utf-8")
    (tmp_path / "train.json").symlink_to("elsewhere")
    write_own(tmp_path / "train.json", "one")
    assert contents(tmp_path) == {"elsewhere": "mine", "train.json": "one", "train.json.orig": "mine"}
    assert not (tmp_path / "train.json").is_symlink()


def test_a_stop_between_record_and_file_keeps_it_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "train.json"
    write_own(path, "one")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(written_files, "remove_if", stop)
    with pytest.raises(KeyboardInterrupt):
        write_own(path, "two")
    monkeypatch.undo()
    write_own(path, "three")
    assert contents(tmp_path) == {"train.json": "three"}
    assert not list(tmp_path.glob(".maskal-taken*"))


@pytest.mark.parametrize("edited", [True, False])
def test_what_a_killed_run_had_taken_is_given_back(tmp_path: Path, edited: bool):
    """Of a person's file that is kept aside, and of MaskAL's own that is removed."""
    path = tmp_path / "train.json"
    write_own(path, "one")
    if edited:
        path.write_text("mine", encoding="utf-8")
    place = tmp_path / ".maskal-taken-x"
    place.mkdir()
    path.rename(place / path.name)  # as a kill leaves it
    write_own(path, "two")
    kept = {"train.json.orig": "mine"} if edited else {}
    assert contents(tmp_path) == {"train.json": "two", **kept}


@pytest.mark.parametrize("alone", [only_writer, only_program])
def test_programs_that_write_at_a_time_wait_for_each_other(tmp_path: Path, alone):
    """Each file is of one of them, whole, and both are of the same; none is taken for a person's."""

    def write(text: str) -> None:
        for _ in range(20):
            with alone(tmp_path):
                for name in ("a.onnx", "a.yaml"):
                    write_own(tmp_path / name, text * 50_000)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "abc"))
    left = {name: text for name, text in contents(tmp_path).items() if not name.endswith(".lock")}
    assert set(left) == {"a.onnx", "a.yaml"}
    assert left["a.onnx"] == left["a.yaml"] and left["a.onnx"] in {text * 50_000 for text in "abc"}


@pytest.mark.parametrize("alone", [only_writer, only_program])
def test_waiting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, alone):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.setattr(written_files, "UNREPORTED_SECONDS", 0.01)

    def write(others: Barrier) -> None:
        with alone(tmp_path):
            others.wait(10)
            time.sleep(0.5)

    begun = Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(write, begun)
        begun.wait(10)
        with alone(link):
            assert first.done() or first.result(10) is None
    assert (list(tmp_path.iterdir()) == [link]) == (alone is only_program)
    assert caplog.messages == [f"{link}: another program of MaskAL writes here; waiting until it has ended"]


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_locks(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with only_writer(tmp_path / "new"):
        write_own(tmp_path / "new" / "a", "one")
    assert contents(tmp_path / "new") == {"a": "one"}
