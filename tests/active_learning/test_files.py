from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.files import copy_atomically, move_aside, write_atomically


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "state.json"
    write_atomically(path, "old")

    def full_disk(_descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"


def test_a_copy_replaces_what_was_there_and_leaves_no_draft(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"new")
    copy_atomically(tmp_path / "one", tmp_path / "sub" / "two")
    copy_atomically(tmp_path / "one", tmp_path / "sub" / "two")
    assert [path.read_bytes() for path in (tmp_path / "sub").iterdir()] == [b"new"]


def test_moving_aside_keeps_everything_even_twice_in_a_second(tmp_path: Path):
    kept = []
    for content in ("first", "second"):
        folder = tmp_path / "exp1"
        folder.mkdir()
        (folder / "file").write_text(content, encoding="utf-8")
        kept.append(move_aside(folder))
        assert not folder.exists()
    assert [(folder / "file").read_text(encoding="utf-8") for folder in kept] == ["first", "second"]
    assert all(folder.name.startswith("exp1.bak-") for folder in kept)
    assert move_aside(tmp_path / "exp1") is None
