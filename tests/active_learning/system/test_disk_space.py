from __future__ import annotations

import errno
import os
import re
from types import SimpleNamespace

import pytest

from active_learning.errors import MaskALError
from active_learning.system import disk_space
from active_learning.system.disk_space import REMEDIES, check_space, disk_failure, disk_of, in_words, reason_and_remedy
from active_learning.system.exit_code import exit_code_of


def test_enough_space_is_no_news(tmp_path):
    check_space(tmp_path / "not" / "yet", 1, "weights", "name another disk")


def test_too_little_space_is_reported_with_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1_500_000})())
    with pytest.raises(MaskALError, match=r"w: 2\.5 GB are needed for weights, its disk has 1\.5 MB left; free some"):
        check_space(tmp_path / "w", 2_500_000_000, "weights", "name another disk")


DISK = r" \(mounted at /.*, .* of .* left.*\)"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, rf"a\.csv: No space left on device; free some space on that disk{DISK}\. Nothing is lost"),
        (errno.EROFS, rf"a\.csv: Read-only file system; mount that disk for writing, .* settings{DISK}\. Nothing"),
        (errno.EIO, rf"a\.csv: Input/output error; check whether the disk is broken or was disconnected{DISK}\."),
        (errno.EACCES, r"a\.csv: Permission denied; change its permissions"),
        (errno.EMFILE, r"a\.csv: Too many open files; raise your limit"),
        (errno.ENAMETOOLONG, r"a\.csv: File name too long; shorten that name"),
        (errno.ENOENT, r"a\.csv: No such file or directory; put it back, or check whether that drive"),
        (errno.ENOTDIR, r"a\.csv: Not a directory; a file stands where a folder is needed"),
        (errno.ENOTCONN, r"a\.csv: .*not connected; check whether that drive was disconnected"),
    ],
)
def test_a_fault_of_the_system_is_reported_without_a_traceback(capsys, number, message):
    def fail():
        raise OSError(number, os.strerror(number), "a.csv")

    assert exit_code_of(fail) == 1
    assert re.search(message, capsys.readouterr().err)


class HeldOpenError(PermissionError):
    """As Windows reports it."""

    winerror = 32


def test_what_another_program_holds_open_on_windows_is_no_matter_of_permissions():
    error = HeldOpenError(errno.EACCES, "The process cannot access the file", "a.csv")
    assert "close the program that uses it" in disk_failure(error)
    assert "close the program that uses it" in reason_and_remedy(error)


def test_every_remedy_of_the_system_can_be_shown():
    for number in REMEDIES:
        assert disk_failure(OSError(number, os.strerror(number), "/no/such/place/a.csv")).startswith("/no/such/place/a")


def test_other_failures_are_faults_of_the_program():
    assert disk_failure(OSError("no number")) == ""
    with pytest.raises(OSError, match="no number"):
        exit_code_of(fail_with, OSError("no number"))


def fail_with(error):
    raise error


def test_a_disk_that_holds_no_more_files(tmp_path, monkeypatch):
    status = SimpleNamespace(f_files=1000, f_favail=0, f_frsize=1, f_bavail=10, f_blocks=20, f_bfree=10)
    monkeypatch.setattr(disk_space.os, "statvfs", lambda place: status)
    assert disk_of(tmp_path / "a").endswith("left, but hardly room for another file")
    status.f_files, status.f_favail = 0, 0  # Btrfs has no such number
    assert disk_of(tmp_path / "a").endswith("left")


def test_a_drive_that_is_gone_is_not_asked_twice(tmp_path, monkeypatch):
    def fail(place):
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(disk_space.shutil, "disk_usage", fail)
    assert "not there to be asked" in disk_failure(OSError(errno.EIO, "gone", str(tmp_path / "a")))


def test_sizes():
    assert [in_words(size) for size in (12, 1200, 3.4e9, 2e13)] == ["12 bytes", "1.2 KB", "3.4 GB", "20.0 TB"]
