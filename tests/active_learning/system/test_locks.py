from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from active_learning.system import locks
from active_learning.system.locks import locked


def test_one_that_does_not_wait_is_told_no(tmp_path: Path) -> None:
    told: list[str] = []
    with locked(tmp_path / "a.lock", lambda: told.append("first"), wait=False) as first:
        with locked(tmp_path / "a.lock", lambda: told.append("second"), wait=False) as second:
            assert (first, second) == (True, False)
        with locked(tmp_path / "b.lock", lambda: told.append("other")) as other:
            assert other
    with locked(tmp_path / "a.lock", lambda: told.append("third"), wait=False) as third:
        assert third
    assert told == []


@pytest.mark.parametrize("unreported_seconds", [0.0, 0.1])
def test_one_that_waits_says_so_once_and_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreported_seconds: float
) -> None:
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", 0.02)
    waiting, told = threading.Event(), []

    def second() -> None:
        def tell() -> None:
            told.append("waits")
            waiting.set()

        with locked(tmp_path / "a.lock", tell, unreported_seconds=unreported_seconds) as is_ours:
            told.append(f"has it: {is_ours}")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "a.lock", lambda: told.append("first")):
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert told == ["waits", "has it: True"]


@pytest.mark.skipif(os.name == "nt", reason="has no such permissions")
def test_a_lock_is_for_all_users_of_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "a.lock", lambda: None):
        assert (tmp_path / "a.lock").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("error", [NotImplementedError(), PermissionError(13, "denied")])
def test_where_nothing_can_be_locked_all_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with locked(tmp_path / "a.lock", lambda: None, wait=False) as is_ours:
        assert is_ours
