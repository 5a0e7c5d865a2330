from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.system import saving
from active_learning.system.saving import (
    is_being_written,
    is_just_saved,
    modification_times,
    quiet_check,
    settled,
    signature,
)

WRONG = MaskALError("wrong")


@pytest.mark.parametrize(
    ("readings", "held", "count"),
    [
        ([1], 1, 1),
        ([2, 2], 2, 2),
        ([3, 2, 2], 2, 3),
        ([WRONG, 1], 1, 2),
        ([WRONG, 2, 2], 2, 3),
        ([2, WRONG, 2, 2], 2, 4),
        ([2, 3, 4, 5, 6, 7], 7, 6),
        ([WRONG] * 6, WRONG, 6),
    ],
    ids=str,
)
def test_what_is_being_saved_is_read_until_it_is_the_same_twice(monkeypatch, readings, held, count):
    """Or as it was; that which is another one each time, longer than anyone saves, is taken as it is."""
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 0.0)
    left = list(readings)

    def read() -> int:
        if isinstance(now := left.pop(0), MaskALError):
            raise now
        return now

    if held is WRONG:
        with pytest.raises(MaskALError, match="wrong"):
            settled(read, 1)
    else:
        assert settled(read, 1) == held
    assert len(readings) - len(left) == count


def test_a_folder_is_quiet_when_no_file_has_changed_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(saving.time, "monotonic", lambda: now)
    file = tmp_path / "a" / "b.json"
    file.parent.mkdir()
    is_quiet = quiet_check(tmp_path, 30.0)
    now += 29.0
    assert not is_quiet()
    file.touch()
    now += 1.0
    assert not is_quiet()
    now += 30.0
    assert is_quiet()
    os.utime(file, (5, 5))
    assert not is_quiet()


def test_a_file_or_folder_that_has_just_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saving, "SECONDS_TO_SAVE", 60.0)
    file = tmp_path / "a.json"
    assert not is_just_saved(file) and signature(file) is None
    file.touch()
    assert is_just_saved(file) and is_being_written(tmp_path)
    later = time.time() + 120
    monkeypatch.setattr(saving.time, "time", lambda: later)
    assert not is_just_saved(file) and not is_being_written(tmp_path)
    assert modification_times(tmp_path) == {os.fspath(file): file.stat().st_mtime_ns}
