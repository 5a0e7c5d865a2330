from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from active_learning.annotating import confirmation
from active_learning.annotating.confirmation import Confirmation


@pytest.mark.parametrize(
    ("name", "content", "counts"),
    [
        ("DONE", b"", True),
        ("DONE", b"\r\n", True),
        ("DONE.txt", b"", True),
        ("done", b"", True),
        ("Done.txt", b"", True),
        ("DONE", b"\xff\xfe\r\0\n\0", True),  # of PowerShell
        ("DONE.txt", b"\xef\xbb\xbf", True),  # of Windows' editor
        ("DONE", b"my list of what is done", False),
        ("done.md", b"", False),
    ],
)
def test_an_empty_file_confirms(tmp_path, name, content, counts):
    (tmp_path / name).write_bytes(content)
    asked = Confirmation(tmp_path)
    assert asked.file_is_there is counts
    assert asked.is_given() is counts
    assert asked.clear() is counts
    assert (tmp_path / name).exists() is not counts


def test_a_drive_that_fails_for_a_moment_confirms_nothing_and_ends_no_wait(tmp_path, monkeypatch):
    (tmp_path / "DONE").touch()
    asked = Confirmation(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EHOSTDOWN, "Host is down")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fail)
        assert not asked.is_given()
    assert asked.is_given()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("annotate/DONE", b"finished, Anna", True),
        ("annotate/Done.txt", b"ok\n", True),
        ("annotate/DONE.rtf", b"", True),
        ("annotate/DONE.docx", b"PK", True),
        ("annotate/done ", b"", True),
        ("annotate/dONE", b"", True),
        ("annotate/field 1/DONE", b"", True),
        ("DONE", b"", True),  # beside the original images
        ("annotate/DONE", b"", False),
        ("annotate/done.png", b"x", False),  # an image, and its annotation
        ("annotate/done.json", b"{}", False),
        ("annotate/done/a.png", b"x", False),  # a folder of images
        ("annotate/done-list.txt", b"a.png", False),
    ],
)
def test_a_file_that_is_meant_so_and_does_not_count_is_named(tmp_path, name, content, said):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    asked = Confirmation(tmp_path / "annotate")
    text = f"{tmp_path / name}: does not count; what counts is an empty file {asked.file}"
    assert asked.not_counted() == [text] * said
    asked.clear()
    assert (tmp_path / name).exists() is (said or asked.file != tmp_path / name)


@pytest.mark.parametrize(
    ("name", "said"), [("DONE", True), ("done", True), ("DONE.txt", True), ("field 1", False), ("undone", False)]
)
def test_an_empty_folder_that_is_meant_so_is_named(tmp_path, name, said):
    (tmp_path / name).mkdir()
    asked = Confirmation(tmp_path)
    text = f"{tmp_path / name}: is a folder, and does not count; make it an empty file {asked.file}"
    assert asked.not_counted() == [text] * said
    assert not asked.is_given()
    (tmp_path / name / "a.png").touch()  # of an image folder that is called so
    assert asked.not_counted() == []


def test_nothing_is_no_answer(tmp_path):
    assert Confirmation(tmp_path / "gone").not_counted() == []
    assert not Confirmation(tmp_path / "gone").is_given()
    assert not Confirmation(tmp_path / "gone").clear()


def test_what_a_pipe_holds_is_no_answer(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"\n\n")
    with os.fdopen(reading) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert not Confirmation(tmp_path).is_given()
    os.close(writing)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_enter_counts_from_the_question_on(tmp_path, monkeypatch):
    person, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(confirmation, "_owns_terminal", lambda: True)
        asked = Confirmation(tmp_path)
        os.write(person, b"typed too early\n")
        asked.ask()
        assert not asked.is_given()
        os.write(person, b"no line yet")
        assert not asked.is_given()
        os.write(person, b"\n")
        assert asked.is_given()
        assert not asked.is_given()
    os.close(person)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_program_in_the_background_does_not_read(tmp_path, monkeypatch):
    person, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        os.write(person, b"\n")
        assert not Confirmation(tmp_path).is_given()  # this process has another terminal, or none
        assert not confirmation.is_at_terminal()  # so nobody is asked for Enter
    os.close(person)


def test_an_empty_file_of_another_account_confirms(tmp_path, monkeypatch):
    """It may not be read."""
    (tmp_path / "DONE").touch()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("is read"))
    assert Confirmation(tmp_path).is_given()


def test_a_file_that_is_taken_away_at_this_moment_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert not Confirmation(tmp_path).is_given()


@pytest.mark.parametrize("place", ["", "annotate/field 1"])
def test_a_file_is_named_once_where_capitals_do_not_matter(tmp_path, place):
    (tmp_path / "annotate/field 1").mkdir(parents=True)
    for name in ("DONE", "done", "Done"):
        (tmp_path / place / name).touch()
    assert len(Confirmation(tmp_path / "annotate").not_counted()) == 1
