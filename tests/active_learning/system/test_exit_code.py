"""What a program that ends in one way or another reports, and its exit code."""

from __future__ import annotations

import pytest

from active_learning.errors import AnnotationsAwaited, FailedElsewhere, MaskALError, SettingsError
from active_learning.system.exit_code import exit_code_of


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "report"),
    [
        (MaskALError("no image"), 1, "no image"),
        (SettingsError("wrong key"), 2, "wrong key"),
        (AnnotationsAwaited("a.png"), 3, "a.png"),
        (KeyboardInterrupt(), 130, "Nothing is lost"),
        (FailedElsewhere(3), 3, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_codes(capsys, error, code, report):
    assert exit_code_of(raises, error) == code
    err = capsys.readouterr().err
    assert report in err
    assert bool(err) == bool(report)


def test_success_and_faults_of_the_program():
    assert exit_code_of(lambda: None) == 0
    assert exit_code_of(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        exit_code_of(raises, ZeroDivisionError())


def test_a_further_process_of_torchrun_does_not_repeat_what_all_see(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert exit_code_of(raises, SettingsError("wrong key")) == 2
    assert exit_code_of(raises, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""
    assert exit_code_of(raises, MaskALError("its disk is full")) == 1
    assert "disk" in capsys.readouterr().err


def test_a_rank_that_a_cluster_has_set_for_others_hides_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert exit_code_of(raises, SettingsError("wrong key")) == 2
    assert "wrong key" in capsys.readouterr().err
