from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.system import files
from active_learning.system.files import DRAFT, copy_atomically, folder_aside, with_ending, write_atomically


def test_a_copy_replaces_what_was_there_and_leaves_no_draft(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"new")
    copy_atomically(tmp_path / "one", tmp_path / "sub" / "two")
    copy_atomically(tmp_path / "one", tmp_path / "sub" / "two")
    assert [path.read_bytes() for path in (tmp_path / "sub").iterdir()] == [b"new"]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "y" * 250, "a.png"])
def test_names_with_an_ending_have_room_on_a_disk(tmp_path: Path, name: str):
    target = tmp_path / name
    for ending in (DRAFT, ".orig", ".orig12"):
        path = with_ending(target, ending)
        path.touch()
        assert path.name.endswith(ending) and path != with_ending(tmp_path / f"{name[:-1]}z", ending)
        assert path.name == f"{name}{ending}" or len(name) > 100
    write_atomically(target, "new")
    assert target.read_text(encoding="utf-8") == "new"


def test_a_folder_aside_is_new_even_twice_in_a_second(tmp_path: Path):
    folders = [folder_aside(tmp_path / "exp1") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and folder.name.startswith("exp1.bak-") for folder in folders)


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("old", encoding="utf-8")
    other.write_text("new", encoding="utf-8")

    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    monkeypatch.setattr(files.shutil, "copy2", no_space)
    for write in (lambda: write_atomically(path, "new"), lambda: copy_atomically(other, path)):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert path.read_text(encoding="utf-8") == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "b.txt"]
