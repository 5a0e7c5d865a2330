from __future__ import annotations

import errno
import os

import pytest

from active_learning.errors import MaskALError
from active_learning.system import disk_space
from active_learning.system.disk_space import check_space, disk_failure, in_words
from active_learning.system.exit_code import exit_code_of


def test_enough_space_is_no_news(tmp_path):
    check_space(tmp_path / "not" / "yet", 1, "weights", "name another disk")


def test_too_little_space_is_reported_with_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1_500_000})())
    with pytest.raises(MaskALError, match=r"w: 2\.5 GB are needed for weights, its disk has 1\.5 MB left; free some"):
        check_space(tmp_path / "w", 2_500_000_000, "weights", "name another disk")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "a.csv: No space left on device; free some space on that disk. Nothing is lost"),
        (errno.EROFS, "a.csv: Read-only file system; mount that disk for writing"),
        (errno.EACCES, "a.csv: Permission denied; change its permissions"),
    ],
)
def test_a_failing_disk_is_reported_without_a_traceback(capsys, number, message):
    def fail():
        raise OSError(number, os.strerror(number), "a.csv")

    assert exit_code_of(fail) == 1
    assert message in capsys.readouterr().err


def test_other_failures_are_faults_of_the_program():
    assert disk_failure(FileNotFoundError(errno.ENOENT, "No such file", "x")) == ""
    with pytest.raises(FileNotFoundError):
        exit_code_of(open, "/no/such/file")


def test_sizes():
    assert [in_words(size) for size in (12, 1200, 3.4e9, 2e13)] == ["12 bytes", "1.2 KB", "3.4 GB", "20.0 TB"]
