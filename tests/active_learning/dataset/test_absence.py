"""What counts as gone with its drive, and what as taken away by a person."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.dataset.absence import absence, absent_images
from active_learning.system.disk_space import REMEDIES

IMAGES = ["a.png", "b.png", "field 1/c.png", "field 2/rows/d.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in IMAGES:
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).touch()
    return tmp_path / "train"


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def link_to_nowhere(place: Path) -> None:
    shutil.rmtree(place)
    place.symlink_to("/nowhere/at/all")


def looped(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


CASES = {
    "the folder is gone": (shutil.rmtree, IMAGES, "train: the folder is not there"),
    "an empty mount point": (emptied, IMAGES, "train: none of 4 images is there any more, such as a.png"),
    "a link to a drive that is gone": (
        lambda folder: link_to_nowhere(folder / "field 1"), ["field 1/c.png"],
        "field 1: nothing is there any more, it held 1 image (remove it to go on without)",
    ),
    "an empty mount point below": (
        lambda folder: emptied(folder / "field 2"), ["field 2/rows/d.png"], "field 2: nothing is there any more",
    ),
    "an image is taken away": (lambda folder: (folder / "a.png").unlink(), [], ""),
    "a sub-folder is taken away": (lambda folder: shutil.rmtree(folder / "field 1"), [], ""),
    "all of the top are taken away": (lambda folder: [(folder / name).unlink() for name in IMAGES[:2]], [], ""),
    "an image is taken away, another fails": (
        lambda folder: ((folder / "a.png").unlink(), looped(folder / "b.png")), ["b.png"],
        "b.png: cannot be reached (Too many levels of symbolic links; remove the links",
    ),
    "nothing is gone": (lambda folder: None, [], ""),
}  # fmt: skip


@pytest.mark.parametrize(("change", "absent", "words"), CASES.values(), ids=CASES)
def test_absence(folder: Path, change: Callable[[Path], object], absent: list[str], words: str):
    change(folder)
    gone = [name for name in IMAGES if not (folder / name).exists()]
    assert absent_images(folder, gone, IMAGES) == absent
    assert words in absence(folder, gone, IMAGES)
    assert bool(absence(folder, gone, IMAGES)) == bool(words)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_drive_that_fails_is_absent(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    stat = os.stat

    def fail(path: object, *arguments: object, **options: object) -> os.stat_result:
        if "train" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", fail)
    assert "the folder is not there" in absence(folder, IMAGES, IMAGES)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ETIMEDOUT])
def test_images_that_cannot_be_reached_in_a_folder_that_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    """As of a broken sector, or a folder that may be listed and not entered."""
    stat = os.stat

    def fail(path: object, *arguments: object, **options: object) -> os.stat_result:
        if str(path).endswith(("c.png", "d.png")):
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", fail)
    (folder / "a.png").unlink()
    gone = ["a.png", *IMAGES[2:]]
    assert absent_images(folder, gone, IMAGES) == IMAGES[2:]
    assert f"c.png: cannot be reached ({os.strerror(number)}; {REMEDIES[number]}), nor can 1 more" in absence(
        folder, gone, IMAGES
    )
