"""Moving and copying without overwriting."""

from __future__ import annotations

import os

import pytest

from active_learning.system import file_moves
from active_learning.system.file_moves import copy_beside, keep_aside, move_beside, remove_copy, remove_leftovers


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["hard links", "no hard links"])
def file_system(request, monkeypatch):
    """Also one such as those of memory sticks."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not permitted")

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("file_system")
def test_keep_aside_counts_on(tmp_path):
    for number in range(3):
        keep_aside(write(tmp_path / "a.json", str(number)))
    assert content(tmp_path) == {"a.json.orig": "0", "a.json.orig2": "1", "a.json.orig3": "2"}


CASES = [
    pytest.param({"from/a": "new"}, {"to/a": "new"}, id="nothing there"),
    pytest.param({"from/a": "new", "to/a": "old"}, {"to/a": "new", "to/a.orig": "old"}, id="clash"),
    pytest.param(
        {"from/a": "new", "to/a": "old", "to/a.orig": "older"},
        {"to/a": "new", "to/a.orig": "older", "to/a.orig2": "old"},
        id="second clash",
    ),
    pytest.param({"from/a": "same", "to/a": "same"}, {"to/a": "same"}, id="the same"),
]


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize(("before", "after"), CASES)
def test_move_beside(tmp_path, before, after):
    (tmp_path / "to").mkdir()
    for name, text in before.items():
        write(tmp_path / name, text)
    move_beside(tmp_path / "from/a", tmp_path / "to/a")
    assert content(tmp_path) == after


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize(("before", "after"), CASES)
def test_copy_beside(tmp_path, before, after):
    (tmp_path / "to").mkdir()
    for name, text in before.items():
        write(tmp_path / name, text)
    copy_beside(tmp_path / "from/a", tmp_path / "to/a")
    assert content(tmp_path) == {**after, "from/a": before["from/a"]}


def test_an_interrupted_copy_leaves_nothing(tmp_path, monkeypatch):
    write(tmp_path / "a", "new")
    write(tmp_path / "to/a", "same length?")

    def interrupt(_: object, draft: os.PathLike[str]) -> None:
        write(draft, "ne")  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(file_moves.shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        copy_beside(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path) == {"a": "new", "to/a": "same length?"}


def test_a_draft_that_is_one_file_with_the_target_is_not_written_over(tmp_path):
    """As a kill leaves it between the two steps of giving a draft its name."""
    write(tmp_path / "a", "new")
    os.link(write(tmp_path / "to/a", "old"), tmp_path / "to/a.maskal-draft")
    copy_beside(tmp_path / "a", tmp_path / "to/a")
    assert content(tmp_path) == {"a": "new", "to/a": "new", "to/a.orig": "old"}


def test_a_folder_that_links_to_the_target_loses_nothing(tmp_path):
    write(tmp_path / "train/a", "mine")
    (tmp_path / "annotate").symlink_to(tmp_path / "train")
    move_beside(tmp_path / "annotate/a", tmp_path / "train/a")
    remove_copy(tmp_path / "annotate/a", tmp_path / "train/a")
    assert content(tmp_path / "train") == {"a": "mine"}


def test_a_link_to_the_source_is_not_mistaken_for_the_file(tmp_path):
    write(tmp_path / "from/a", "mine")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").symlink_to(tmp_path / "from/a")
    move_beside(tmp_path / "from/a", tmp_path / "to/a")
    assert (tmp_path / "to/a").read_text() == "mine"
    assert not (tmp_path / "to/a").is_symlink()


def test_a_linked_file_is_moved_by_content(tmp_path):
    write(tmp_path / "elsewhere/a", "mine")
    write(tmp_path / "from/b", "")
    (tmp_path / "to").mkdir()
    (tmp_path / "from/a").symlink_to("../elsewhere/a")
    move_beside(tmp_path / "from/a", tmp_path / "to/a")
    assert (tmp_path / "to/a").read_text() == (tmp_path / "elsewhere/a").read_text() == "mine"


@pytest.mark.parametrize(("copy", "left"), [("same", False), ("changed", True)])
def test_only_equal_copies_are_removed(tmp_path, copy, left):
    remove_copy(write(tmp_path / "copy", copy), write(tmp_path / "original", "same"))
    assert (tmp_path / "copy").exists() == left


def test_a_copy_without_its_original_stays(tmp_path):
    remove_copy(write(tmp_path / "copy", "mine"), tmp_path / "original")
    assert content(tmp_path) == {"copy": "mine"}


def test_remove_leftovers(tmp_path):
    write(tmp_path / "annotate/sub/a.jpg.maskal-draft", "half")
    (tmp_path / "annotate/empty/deep").mkdir(parents=True)
    write(tmp_path / "annotate/kept/notes.txt", "mine")
    remove_leftovers(tmp_path / "annotate")
    assert content(tmp_path) == {"annotate/kept/notes.txt": "mine"}
    assert [path.name for path in (tmp_path / "annotate").iterdir()] == ["kept"]
    (tmp_path / "annotate/kept/notes.txt").unlink()
    remove_leftovers(tmp_path / "annotate")
    assert not (tmp_path / "annotate").exists()


def test_a_folder_that_is_a_link_stays(tmp_path):
    write(tmp_path / "elsewhere/sub/a.jpg.maskal-draft", "half")
    (tmp_path / "annotate").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(tmp_path / "annotate")
    assert list((tmp_path / "annotate").iterdir()) == []
