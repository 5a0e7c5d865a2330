"""The program as a user runs it, on a disk that takes no more and beside another run."""

from __future__ import annotations

import functools
import json
import os
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.project import Person, make_project, shapes_of
from tests.processes import Program

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def annotate_all(folder: Path) -> None:
    for image in (folder / "data").rglob("*.png"):
        document = {"shapes": shapes_of(image.name), "imagePath": image.name, "imageData": None}
        image.with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")


def limit(largest_file: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))


@contextmanager
def started(folder: Path, *arguments: str, largest_file: int | None = None) -> Iterator[Program]:
    process = Program(
        str(ROOT / "maskAL.py"),
        *("--config", "maskAL.yaml", *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        before=functools.partial(limit, largest_file) if largest_file else None,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(folder: Path, largest_file: int | None = None) -> tuple[int, str]:
    with started(folder, largest_file=largest_file) as process:
        _, err = process.communicate(timeout=300)
        return process.returncode, err


def test_a_run_goes_on_after_its_disk_was_full(tmp_path):
    """The system refuses to write more than a megabyte into a file, as a full disk does; a file of weights has 2."""
    make_project(tmp_path, strategy="random", loops=1, train_iterations_base=4)
    annotate_all(tmp_path)
    code, err = run(tmp_path, largest_file=1_000_000)
    assert code == 1
    assert "cannot be written" in err
    assert "free some space, and start again, it goes on" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "weights").rglob("*.pth"))
    assert not list(tmp_path.rglob("*.maskal-draft"))
    code, err = run(tmp_path)
    assert code == 0, err
    rows = (tmp_path / "results" / "exp1" / "random" / "random.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["train_size", "3", "5"]


def test_the_second_of_two_runs_names_the_first(tmp_path):
    make_project(tmp_path)
    with started(tmp_path) as first:
        deadline = time.monotonic() + 120
        while not (tmp_path / "data" / "val" / "annotate").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        code, err = run(tmp_path)
        assert code == 1
        assert f"is going on (on {socket.gethostname()}, process {first.pid}, started 2" in err
        assert first.poll() is None
        first.terminate()
        _, err = first.communicate(timeout=20)
        assert first.returncode == 130
        assert "Interrupted. Nothing is lost: the same command, without --fresh, goes on from here." in err
    with started(tmp_path, "--no-wait") as third:
        third.communicate(timeout=120)
        assert third.returncode == 3


def test_the_person_loses_nothing_it_did_not_throw_away(tmp_path):
    """Of the scripted person itself: what the kill tests rely on."""
    make_project(tmp_path)
    person = Person(tmp_path, random.Random(1))
    annotate = tmp_path / "data" / "val" / "annotate"
    annotate.mkdir()
    for image in (tmp_path / "data" / "val").glob("*.png"):
        (annotate / image.name).write_bytes(image.read_bytes())
    for _ in range(50):
        person.work()
    assert len(list(annotate.glob("*.json"))) == 3
    assert not person.lost()
    victim = next(annotate.glob("*.json"))
    content = victim.read_bytes()
    victim.unlink()
    assert person.lost() == {content}
