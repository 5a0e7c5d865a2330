from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from active_learning.run.output_files import (
    OutputFiles,
    read_network,
    read_train_files,
    write_pool_scores,
    write_scores,
    write_train_files,
)
from active_learning.run.state import LoopScores


def test_train_files_have_the_value_of_the_images_chosen_in_this_loop(tmp_path: Path):
    path = tmp_path / "trainfiles_iteration001.txt"
    write_train_files(path, ["a.png", "b, c.png", "sub/ü.png"], {"b, c.png": 0.25, "sub/ü.png": math.nan})
    assert path.read_text(encoding="utf-8") == "a.png, NaN\nb, c.png, 0.250000\nsub/ü.png, NaN\n"
    assert read_train_files(path) == ["a.png", "b, c.png", "sub/ü.png"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # saved by an editor on Windows
    assert read_train_files(path) == ["a.png", "b, c.png", "sub/ü.png"]


def test_scores_have_one_decimal_and_a_column_a_class(tmp_path: Path):
    files = OutputFiles(tmp_path, tmp_path, "uncertainty")
    first, last = {"a": 20.0, "b, c": math.nan}, {"a": 50.0, "b, c": 50.0}
    counted = LoopScores(9, 50.0, last, 12.345, first, 1.0, objects={"a": 20, "b, c": 3})
    write_scores(files, [LoopScores(6, 12.345, first, 50.0, last, 1.0), counted], ["a", "b, c"])
    headers, low, high = 'train_size,mAP,mAP-a,"mAP-b, c",objects', "12.3,20.0,nan", "50.0,50.0,50.0"
    assert files.scores.read_text(encoding="utf-8") == f"{headers}\n6,{low},nan\n9,{high},23\n"
    assert files.standard_scores.read_text(encoding="utf-8") == f"{headers}\n6,{high},nan\n9,{low},23\n"


@pytest.mark.parametrize("kind", ["scores", "standard_scores", "pool_scores"])
def test_a_csv_that_another_program_holds_open_ends_no_run(tmp_path: Path, monkeypatch, caplog, kind: str):
    files = OutputFiles(tmp_path, tmp_path, "uncertainty")
    held = files.pool_scores(0) if kind == "pool_scores" else getattr(files, kind)

    def write() -> None:
        write_scores(files, [LoopScores(6, 1.0, {"a": 1.0}, 1.0, {"a": 1.0}, 1.0)], ["a"])
        write_pool_scores(files.pool_scores(0), {"a.png": 0.5})

    def refuse(original: Callable[..., Any], source: Path, target: Path, **options: Any) -> Any:
        if held == Path(target):
            raise PermissionError(errno.EACCES, "held open", str(held))
        return original(source, target, **options)

    with monkeypatch.context() as patch:
        for name in ("replace", "link", "rename"):
            patch.setattr(os, name, partial(refuse, getattr(os, name)))
        write()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{held}: cannot be written: held open" in caplog.text and not held.exists()
    write()
    assert held.exists()


def test_each_loop_has_its_own_names(tmp_path: Path):
    files = OutputFiles(tmp_path / "results", tmp_path / "weights", "random")
    assert files.best_model(7).name == "best_model_007.pth"
    assert files.train_files(0).name == "trainfiles_iteration000.txt"
    assert files.scores.name == "random.csv"
    assert len({files.pool_scores(loop) for loop in range(3)}) == 3


def test_the_file_of_choices_names_the_network_where_it_is_not_that_of_the_loop_before(tmp_path: Path):
    path, names = tmp_path / "trainfiles.txt", ["a.png", "b, network 3.png", "c, 0.5.png"]
    write_train_files(path, names, {"b, network 3.png": 0.25, "c, 0.5.png": math.nan}, 12)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == ["a.png, NaN", "b, network 3.png, 0.250000, network 12", "c, 0.5.png, NaN, network 12"]
    assert (read_train_files(path), read_network(path)) == (names, 12)
    write_train_files(path, names, {"a.png": 0.5})
    assert (read_train_files(path), read_network(path)) == (names, None)
