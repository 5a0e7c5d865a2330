from __future__ import annotations

import pytest

from active_learning.system import progress as module
from active_learning.system.progress import progress


def test_a_step_that_is_done_at_once_shows_no_bar(capsys: pytest.CaptureFixture):
    assert list(progress(range(3), what="reading", unit="file")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_longer_one_tells_what_is_done_and_how_long_it_takes(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SOON_DONE", 0)
    with progress(what="sampling", unit="image", total=10, start=4) as bar:
        bar.update(6)
    shown = capsys.readouterr().err
    assert "sampling:  40%" in shown and "10/10" in shown and "image/s]" in shown


def test_in_a_file_there_are_few_lines(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SOON_DONE", 0)
    list(progress(range(5000), what="reading", unit="file"))
    assert capsys.readouterr().err.count("\r") == 2  # the start and the end


def test_a_process_whose_progress_another_one_shows_is_silent(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SOON_DONE", 0)
    assert list(progress("ab", what="testing", unit="image", shown=False)) == ["a", "b"]
    assert capsys.readouterr().err == ""
