"""Regular files alone are used; what else lies in an image folder is named, and nothing is opened to find out."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.dataset.folder_walk import files_of
from active_learning.dataset.image_folder import find_images, pair_annotations, take_snapshot
from active_learning.errors import MaskALError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may have 100 characters
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


OUT = "a link out of the folder; copy the file there, or name its own folder in the settings"
NO_FILE = "no regular file (a pipe, device or socket); remove it"
NOWHERE = "a link that leads nowhere; remove it, or put back what it led to"
PASSED_OVER: dict[str, tuple[str, Callable[[Path, Path], object], str]] = {
    "pipe": ("x.png", lambda path, _: os.mkfifo(path), NO_FILE),
    "pipe with the name of an annotation": ("a.json", lambda path, _: os.mkfifo(path), NO_FILE),
    "socket": ("x.jpg", lambda path, _: listen(path), NO_FILE),
    "link to a device": ("x.tif", lambda path, _: path.symlink_to("/dev/zero"), OUT),
    "link to an image elsewhere": ("x.png", lambda path, other: path.symlink_to(other / "b.png"), OUT),
    "relative link out": ("x.png", lambda path, _: path.symlink_to("../elsewhere/b.png"), OUT),
    "link to an annotation elsewhere": ("a.json", lambda path, other: path.symlink_to(other / "b.json"), OUT),
    "link to a folder elsewhere": ("field.1/", lambda path, other: path.symlink_to(other), OUT),
    "link to a folder of a like name": ("x/", lambda path, other: path.symlink_to(other.with_name("train2")), OUT),
    "link to the folder above": ("up/", lambda path, _: path.symlink_to(".."), OUT),
    "link to nothing": ("x.png", lambda path, _: path.symlink_to("gone.png"), NOWHERE),
    "link to itself": ("x.png", lambda path, _: path.symlink_to("x.png"), NOWHERE),
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_no_regular_file_here_is_named_and_passed_over(train: Path, tmp_path: Path, name: str) -> None:
    touch(tmp_path, "elsewhere/b.png", "elsewhere/b.json", "train2/c.png")
    touch(train, "a.png", "sub/d.png")
    entry, make, reason = PASSED_OVER[name]
    make(train / entry.rstrip("/"), tmp_path / "elsewhere")
    snapshot = take_snapshot(train)
    assert snapshot.images == ("a.png", "sub/d.png")
    assert snapshot.notes == (f"{train}: {entry}: passed over: {reason}",)
    assert entry not in files_of(train, Path())
    assert pair_annotations(train, snapshot.images) == {}


def test_links_inside_the_folder_are_followed_after_all_else(train: Path) -> None:
    """So an image keeps its own name when a link to its folder is made."""
    touch(train, "z/deep/a.png", "z/b.png")
    (train / "a").symlink_to(train / "z" / "deep")
    (train / "loop").symlink_to(train)
    (train / "c.png").symlink_to("z/b.png")
    assert find_images(train) == ["c.png", "z/b.png", "z/deep/a.png"]
    assert take_snapshot(train).notes == ()


def test_the_folder_itself_may_be_a_link(train: Path, tmp_path: Path) -> None:
    touch(train, "a.png", "s/b.png", "annotate/c.png")
    (train / "link").symlink_to(train.resolve() / "s")
    (tmp_path / "other").symlink_to(train)
    assert find_images(tmp_path / "other") == ["a.png", "s/b.png"]
    assert take_snapshot(tmp_path / "other").notes == ()


def test_files_that_mean_nothing_here_are_not_named(train: Path, tmp_path: Path) -> None:
    touch(
        train,
        "a.png",
        "a.json",
        "a.json.orig2",
        "a.txt",
        "Thumbs.db",
        ".DS_Store",
        "._a.heic",
        "README",
        "x.zip",
        "x.tar.gz",
        "X.TGZ",
    )
    os.mkfifo(train / "pipe")
    (train / "notes.txt").symlink_to(tmp_path / "notes.txt")
    assert take_snapshot(train).notes == ()


def test_folders_of_programs_are_left_out(train: Path) -> None:
    touch(train, "a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "s/#recycle/b.png", "$RECYCLE.BIN/c.png")
    touch(train, "__MACOSX/d.png", ".Trash-1000/files/e.png", "s/.hidden/f.png", "# own/g.png")
    assert find_images(train) == ["# own/g.png", "a.png"]


@pytest.mark.parametrize("name", ["Annotate", "ANNOTATE"])
@pytest.mark.parametrize("ignores_case", [True, False])
def test_the_annotate_folder_in_capitals_is_left_out_where_a_disk_ignores_case(
    train: Path, name: str, ignores_case: bool
) -> None:
    touch(train, "a.png", f"{name}/b.png", f"s/{name}/c.png")
    if ignores_case:
        (train / "annotate").symlink_to(name)  # as such a disk finds it
    else:
        touch(train, "annotate/d.png")
    others = [] if ignores_case else [f"{name}/b.png"]
    assert find_images(train) == [*others, "a.png", f"s/{name}/c.png"]


def test_kinds_that_are_not_read_are_counted(train: Path) -> None:
    touch(train, "a.png", "a.GIF", "b.gif", "s/c.heic", "d.CR2", "e.mp4", "f.gif")
    line = "6 files of kinds that are not read: 3 .gif, 1 .cr2, 1 .mp4, 1 .heic; save images as JPEG or PNG"
    assert take_snapshot(train).notes == (f"{train}: {line}",)


def test_what_could_not_be_saved_as_an_image_gets_no_advice_to_do_so(train: Path) -> None:
    touch(train, "a.png", "b.geojson", "b.npy", "b.json.gz", "b.jsn", "b.mat", "b.json~", "b.pkl")
    (note,) = take_snapshot(train).notes
    assert note.startswith(f"{train}: 7 files of kinds that are not read: 1 .geojson, ")
    assert "JPEG" not in note
    touch(train, "c.gif")
    of_images = f"{train}: 1 file of kinds that are not read: 1 .gif; save images as JPEG or PNG"
    assert take_snapshot(train).notes == (of_images, note)


def test_archives_that_cannot_be_opened_are_counted_with_their_remedy(train: Path) -> None:
    touch(train, "a.png", "b.7z", "c.RAR", "d.zip")
    line = "2 files of kinds that are not read: 1 .7z, 1 .rar; unpack archives, save images as JPEG or PNG"
    assert take_snapshot(train).notes == (f"{train}: {line}",)


def test_many_are_named_by_the_first(train: Path) -> None:
    for number in range(5):
        (train / f"{number}.png").symlink_to("/dev/null")
    (note,) = take_snapshot(train).notes
    assert f"{train}: 0.png, 1.png, 2.png and 2 more: passed over: {OUT}" == note


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("place", [".", "s"])
def test_a_folder_that_cannot_be_read_is_no_empty_one(
    train: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, place: str
) -> None:
    touch(train, "a.png", "s/b.png")
    scandir = os.scandir

    def fail(folder: Path) -> object:
        if Path(folder) == train / place:
            raise type(error)(*error.args, str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(MaskALError, match=rf"{train / place}: this folder cannot be read .{error.strerror}."):
        take_snapshot(train)
