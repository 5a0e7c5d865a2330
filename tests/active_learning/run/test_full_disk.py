"""Kind 9: a full disk, and folders that cannot be read, are named; what was there before stays whole.

A draft, or a file that is added to, is a link to a device that takes nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from active_learning.acquisition import record_files
from active_learning.acquisition.explanation import Explanation, write_explanations
from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.conversion.command import main as convert
from active_learning.dataset.coco import write_image_list
from active_learning.dataset.image_folder import take_snapshot
from active_learning.errors import MaskALError
from active_learning.network.weights_files import save_weights
from active_learning.run.output_files import OutputFiles, write_pool_scores, write_train_files
from active_learning.run.state import RunState
from active_learning.sampling.pool_record import PoolRecord
from active_learning.system.disk_space import disk_failure
from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import DRAFT
from active_learning.system.own_files import OwnFiles
from active_learning.system.written_files import RECORD
from tests.active_learning.conftest import annotated_image

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
FILES = OutputFiles(Path("results"), Path("weights"), "random")
WRITERS: dict[str, Callable[[], object]] = {
    "results/run_state.json": lambda: RunState(["a"]).save(FILES.state),
    "results/trainfiles_iteration000.txt": lambda: write_train_files(FILES.train_files(0), ["a.png"], {}),
    "results/pool_certainty000.csv": lambda: write_pool_scores(FILES.pool_scores(0), {"a.png": 0.5}),
    "results/pool_records000.jsonl": lambda: record_files.write_records(FILES.pool_records(0), {}, []),
    "results/why_chosen000/why.json": lambda: write_explanations(FILES.why_chosen(0), []),
}


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("file", WRITERS)
def test_each_file_of_a_run_is_named_and_stays_whole(capsys: pytest.CaptureFixture, file: str) -> None:
    path = Path(file)
    path.parent.mkdir(parents=True)
    path.write_text("before")
    path.with_name(path.name + DRAFT).symlink_to(FULL)
    assert exit_code_of(WRITERS[file]) == 1
    assert f"\n{file}: No space left on device; free some space on that disk (mounted at /" in capsys.readouterr().err
    assert path.read_text() == "before"
    assert not list(path.parent.glob(f"*{DRAFT}"))
    WRITERS[file]()
    assert path.read_text() != "before"


def test_a_list_is_named_and_stays_whole(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_image_list(Path("val.txt"), ["a.png"])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert exit_code_of(lambda: write_image_list(Path("val.txt"), ["b.png"])) == 1
    assert "\nval.txt: No space left on device; free some space on that disk" in capsys.readouterr().err
    assert Path("val.txt").read_text() == "a.png\n"
    write_image_list(Path("val.txt"), ["b.png"])
    assert sorted(path.name for path in Path().iterdir()) == [".maskal-files", "val.txt"]


def test_a_file_that_is_added_to_is_named() -> None:
    Path(f"records.jsonl{DRAFT}").symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as caught:
        record_files.begin_part(Path("records.jsonl"), {"passes": 1})
    assert disk_failure(caught.value).startswith("records.jsonl: No space left")


@pytest.mark.parametrize("end", ["", '{"name": "ha'], ids=["whole", "half a line"])
def test_records_are_kept_by_a_start_that_can_write_nothing(make_record: Callable[..., PoolRecord], end: str) -> None:
    path = Path("records.jsonl.part0")
    record_files.begin_part(path, {"passes": 1})
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{record_files.to_line(make_record(name))}\n" for name in ("a.png", "b.png"))
    whole = path.read_bytes()
    path.write_bytes(whole + end.encode())
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        record_files.begin_part(path, {"passes": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == whole


def test_a_picture_for_the_report_is_named() -> None:
    Path("why").mkdir()
    Path("why/00.jpg").symlink_to(FULL)
    explanation = Explanation("a.png", 0.5, "mean", 2, 8, 8, ())
    with pytest.raises(OSError, match="No space left") as caught:
        write_explanations(Path("why"), [(explanation, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint8))])
    assert caught.value.filename == "why/00.jpg"


def test_weights_are_named_with_the_disk() -> None:
    Path("best.pth").write_text("before")
    Path(f"best.pth{DRAFT}").symlink_to(FULL)
    with pytest.raises(MaskALError, match=r"^best\.pth: cannot be written .*; its disk is mounted at /.* left\."):
        save_weights(torch.nn.Linear(300, 300), Path("best.pth"))
    assert Path("best.pth").read_text() == "before"


def test_a_pre_label_that_cannot_be_noted_is_not_left_as_a_persons() -> None:
    folder = Path("annotate")
    folder.mkdir()
    (folder / RECORD).symlink_to(FULL)
    (folder / "a.json").write_text("{}")
    with pytest.raises(OSError, match="No space left") as caught:
        OwnFiles(folder).add(folder / "a.json", "a.png")
    assert caught.value.filename == f"annotate/{RECORD}"
    assert not (folder / "a.json").exists()
    (folder / RECORD).unlink()
    (folder / RECORD).write_text('["a.json", "a')  # what a full disk has taken of a line
    (folder / "b.json").write_text("{}")
    OwnFiles(folder).add(folder / "b.json", "b.png")
    assert OwnFiles(folder).is_untouched(folder / "b.json")


def fail_at(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the folders of that name fails, as it does where one has no right to, or the disk is broken."""
    original = os.scandir

    def scandir(place: str = ".") -> Iterator[os.DirEntry[str]]:
        if Path(place).name == name:
            raise OSError(number, os.strerror(number), str(place))
        return original(place)  # type: ignore[return-value]

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_folder_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    Path("train/sub").mkdir(parents=True)
    Path("train/annotate/sub").mkdir(parents=True)
    Path("train/a.png").touch()
    fail_at("sub", number, monkeypatch)
    with pytest.raises(MaskALError, match=rf"^train/sub: this folder cannot be read \({os.strerror(number)}\); change"):
        take_snapshot(Path("train"))
    with pytest.raises(MaskALError, match=r"^train/annotate/sub: this folder cannot be read"):
        search_annotate_folder(Path("train"), ["a.png"], lambda path: "")


def test_a_folder_that_was_removed_at_this_moment_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("train/sub").mkdir(parents=True)
    Path("train/a.png").touch()
    fail_at("sub", errno.ENOENT, monkeypatch)
    assert take_snapshot(Path("train")).images == ("a.png",)


def test_converting_names_the_file_and_the_disk(capsys: pytest.CaptureFixture) -> None:
    Path("images").mkdir()
    annotated_image(Path("images/a.png"))
    Path(f"out.json{DRAFT}{DRAFT}").symlink_to(FULL)
    arguments = ["convert", "images", "--to", "coco", "--classes", "a", "--out", "out.json"]
    assert convert(arguments) == 1
    assert (
        "error: out.json: No space left on device; free some space on that disk (mounted at /"
        in capsys.readouterr().err
    )
    assert convert(arguments) == 0
