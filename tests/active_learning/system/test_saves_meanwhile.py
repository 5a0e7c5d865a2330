"""A person saves while MaskAL moves or removes files: at each step on the disk, in each way in which tools save.

The newest save is somewhere in the end, whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from active_learning.system.file_moves import copy_beside, give_back_all, keep_aside, move_beside, remove_copy

STEPS = ("os.rename", "os.link", "os.remove", "open")
OTHER_DRIVE = Path("/dev/shm")  # noqa: S108


@dataclass
class Meanwhile:
    """Does something before the step of that number."""

    at: int = 0
    action: Callable[[], object] = lambda: None
    steps: int = 0
    below: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.below or event not in STEPS or not isinstance(arguments[0], (str, os.PathLike)):
            return
        if os.fspath(arguments[0]).startswith(tuple(self.below)):
            self.steps += 1
            if self.steps == self.at:
                below, self.below = self.below, []
                self.action()
                self.below = below


MEANWHILE = Meanwhile()
sys.addaudithook(MEANWHILE)  # stays for good, and does nothing unless it is asked


def by_renaming(path: Path) -> Callable[[], None]:
    def save() -> None:
        path.with_name(f"{path.name}.part").write_bytes(b"newest")
        path.with_name(f"{path.name}.part").replace(path)

    return save


def straight_into_it(path: Path) -> Callable[[], object]:
    return lambda: path.write_bytes(b"newest")


@pytest.fixture(params=["one drive", "one drive, mounted twice", "two drives", "without hard links"])
def folders(request, tmp_path, monkeypatch) -> Iterator[tuple[Path, Path]]:
    """Where the person saves, and the image folder."""
    (tmp_path / "train").mkdir()
    if request.param == "without hard links":

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError("not permitted")

        monkeypatch.setattr(os, "link", refuse)
    if request.param == "one drive, mounted twice":
        refuse_across(monkeypatch, tmp_path)
    if request.param != "two drives":
        (tmp_path / "annotate").mkdir()
        yield tmp_path / "annotate", tmp_path / "train"
        return
    if not OTHER_DRIVE.is_dir() or OTHER_DRIVE.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other drive here")
    other = Path(tempfile.mkdtemp(dir=OTHER_DRIVE))
    yield other, tmp_path / "train"
    shutil.rmtree(other)


def refuse_across(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Links and renames between the folders below it fail, though they have one device."""

    def within(work: Callable[..., object]) -> Callable[..., object]:
        def checked(source: object, target: object, *rest: object, **options: object) -> object:
            if len({Path(str(path)).relative_to(folder).parts[0] for path in (source, target)}) > 1:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return work(source, target, *rest, **options)

        return checked

    monkeypatch.setattr(os, "link", within(os.link))
    monkeypatch.setattr(os, "rename", within(os.rename))
    monkeypatch.setattr(Path, "rename", within(Path.rename))


def collect(source: Path, target: Path) -> None:
    """Until it is at rest, as a run does."""
    for _ in range(3):
        if not source.exists() or move_beside(source, target, is_ready=lambda file: file.read_bytes() != b""):
            return


ACTIONS = {
    "collected": collect,
    "collected over another": lambda source, target: [target.write_bytes(b"former"), collect(source, target)],
    "collected over the same": lambda source, target: [target.write_bytes(b"old"), collect(source, target)],
    "removed as a copy": lambda source, target: [target.write_bytes(b"old"), remove_copy(source, target)],
    "kept aside": lambda source, target: keep_aside(source),
    "copied": lambda source, target: copy_beside(source, target),
}


@pytest.mark.parametrize("save", [by_renaming, straight_into_it])
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_the_newest_save_stays(folders, action, save):
    annotate, train = folders
    MEANWHILE.at = 0
    while MEANWHILE.at <= MEANWHILE.steps or MEANWHILE.at == 0:
        for path in [*annotate.iterdir(), *train.iterdir()]:
            path.unlink()
        source, target = annotate / "a.json", train / "a.json"
        source.write_bytes(b"old")
        MEANWHILE.at, MEANWHILE.steps, MEANWHILE.action = MEANWHILE.at + 1, 0, save(source)
        MEANWHILE.below = [str(annotate), str(train)]
        try:
            action(source, target)
        finally:
            MEANWHILE.below = []
        if MEANWHILE.steps < MEANWHILE.at:
            break
        left = {path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
        assert b"newest" in left, f"saved before step {MEANWHILE.at}: {left}"
        assert not [path for folder in folders for path in folder.rglob("*") if path.is_dir()]
    assert MEANWHILE.at > 2


def test_a_save_that_began_before_and_ends_after_is_whole(folders):
    """LabelMe has the file open, and empty, when it is collected."""
    annotate, train = folders
    source, target = annotate / "a.json", train / "a.json"
    with source.open("wb") as stream:
        collect(source, target)
        assert source.exists()
        stream.write(b"newest")
    collect(source, target)
    assert target.read_bytes() == b"newest"


@pytest.mark.parametrize("newer", [True, False], ids=["saved anew meanwhile", "not saved anew"])
def test_what_a_killed_run_had_taken_is_put_back(tmp_path, newer):
    taken = tmp_path / "sub" / ".maskal-taken-abc"
    taken.mkdir(parents=True)
    (taken / "a.json").write_text("older")
    if newer:
        (tmp_path / "sub" / "a.json").write_text("newer")
    give_back_all(tmp_path)
    names = {path.name: path.read_text() for path in (tmp_path / "sub").iterdir()}
    assert names == ({"a.json": "newer", "a.json.orig": "older"} if newer else {"a.json": "older"})
