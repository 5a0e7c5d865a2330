"""make_dataset.py after starts that were broken off, beside another one, and where its lines are lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import make_dataset
from demo.make_dataset import MARKER, NEAR_DUPLICATES, SPLITS, Task, main
from tests.demo.lost_output import EXIT_CODES, lost_output

SMALL = ("--images", "1", "--val", "1", "--test", "1", "--size", "80x64")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


HALF = ("train/train_0007.jpg", "val/val_10000.json", "test/test_0000.jpg.maskal-draft", NEAR_DUPLICATES)
OTHERS = {
    "its own files alone": (),
    "a person's file": ("train/notes.txt",),
    "a file of another split": ("val/train_0000.jpg",),
    "a person's folder": ("train/checked/train_0000.jpg",),
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_a_half_drawn_data_set_is_drawn_anew_and_kept_only_for_what_else_is_in_it(
    others: tuple[str, ...], tmp_path: Path, capsys
) -> None:
    for name in (*HALF, *others):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).touch()
    (tmp_path / "d" / MARKER).write_text("{}", encoding="utf-8")
    assert main(["--out", str(tmp_path / "d"), *SMALL]) == 0
    images = {f"{split}/{split}_0000{end}" for split in SPLITS for end in (".jpg", ".json")}
    assert names(tmp_path / "d") == {MARKER, *images}
    kept = [names(folder) for folder in tmp_path.glob("d.bak-*")]
    assert kept == ([{MARKER, *HALF, *others}] if others else [])
    said = "held a half-drawn data set with other files among it; it was moved" if others else "broken off; it is drawn"
    assert said in capsys.readouterr().out


def test_a_link_among_half_drawn_files_is_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / MARKER).write_text("{}", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "train_0000.jpg").touch()
    (tmp_path / "d" / "train").symlink_to("../photos")
    make_dataset._make_way(tmp_path / "d")
    assert (tmp_path / "photos" / "train_0000.jpg").exists()
    assert len(list(tmp_path.glob("d.bak-*/train"))) == 1


def test_of_two_at_once_the_second_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    arguments = ["--out", str(tmp_path / "d"), *SMALL]
    draw_all, started = make_dataset._draw_all, []

    def draw_while_another_starts(tasks: list[Task], workers: int) -> Iterator[int]:
        if not started:
            started.append(threading.Thread(target=main, args=(arguments,)))
            started[0].start()
            started[0].join(0.5)
        yield from draw_all(tasks, 1)

    monkeypatch.setattr(make_dataset, "_draw_all", draw_while_another_starts)
    assert main(arguments) == 0
    started[0].join()
    said = capsys.readouterr().out
    assert (said.count("Drew"), said.count("already")) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_workers_of_a_killed_start_do_not_draw_into_the_next(tmp_path: Path) -> None:
    command = [sys.executable, make_dataset.__file__, "--out", str(tmp_path / "d"), "--images", "400"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as killed:
        while not list(tmp_path.glob("d/train/*.json")):
            time.sleep(0.05)
            assert killed.poll() is None
        killed.kill()
    time.sleep(0.3)
    assert main(["--out", str(tmp_path / "d"), *SMALL]) == 0
    assert len(names(tmp_path / "d")) == 7


@pytest.mark.parametrize(("output", "code"), EXIT_CODES.items(), ids=EXIT_CODES)
def test_a_data_set_is_made_also_where_nobody_reads_it(output: str, code: int, tmp_path: Path, capsys) -> None:
    for _ in ("drawn", "there already"):
        with lost_output(output):
            assert main(["--out", str(tmp_path / "d"), *SMALL]) == code
        assert json.loads((tmp_path / "d" / MARKER).read_text(encoding="utf-8"))
    assert capsys.readouterr().err.count("standard output: No space left") == 2 * code
