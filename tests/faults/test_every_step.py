"""A run that dies at a step on the disk, at each in turn, goes on as if nothing had been; a fake plays the network.

Python tells an audit hook of each file that is opened to be written, made, renamed, linked or removed. From the chosen
one on, all of them fail, as nothing more reaches the disk from a program that is dead.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import maskAL
from active_learning import loop as loop_module
from active_learning.acquisition import acquire
from active_learning.annotating import waiting
from active_learning.dataset.tile_files import TilePlan
from active_learning.errors import AnnotationsAwaited
from active_learning.loop import ActiveLearningLoop
from active_learning.network import evaluation, network_config, training
from active_learning.network.evaluation import Scores
from active_learning.network.weights_files import begin_best
from active_learning.run import training_tiles
from active_learning.run.lock import only_run
from active_learning.settings import Settings
from active_learning.system.files import DRAFT, write_atomically
from active_learning.system.image_files import pixels_fault

EVENTS = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
STRIDE = int(os.environ.get("STEPS_BETWEEN_DEATHS", "47"))  # each takes a run; 1 in `make test-faults`


class DeadError(BaseException):
    """Nothing but the end of the program catches it."""


@dataclass
class Death:
    """Comes with the step of that number below the folder; 0: never."""

    folder: str = ""
    at_step: int = 0
    steps: int = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.folder or event not in (*EVENTS, "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if _place(event, arguments).startswith(self.folder):
            self.steps += 1
            if 0 < self.at_step <= self.steps:
                raise DeadError

    @contextmanager
    def below(self, folder: Path) -> Iterator[None]:
        self.folder = str(folder)
        try:
            yield
        finally:
            self.folder = ""


def _place(event: str, arguments: tuple[object, ...]) -> str:
    """Folders that are removed with all they hold are numbers for what lies in them."""
    path = os.fspath(arguments[0]) if isinstance(arguments[0], (str, os.PathLike)) else ""
    if event in ("os.remove", "os.rmdir") and isinstance(arguments[1], int) and arguments[1] >= 0:
        with suppress(OSError):  # not of this system
            return str(Path(f"/proc/self/fd/{arguments[1]}").readlink() / path)
    return path


DEATH = Death()
sys.addaudithook(DEATH)  # stays for good, and does nothing unless it is asked


@pytest.fixture
def network(monkeypatch, make_record):
    """Each loop has its own mAP and its own certainties."""

    def train(config, *, best_model, best_ap, final_model, best_before, measured_on):
        if (tiles := best_model.with_name("tiles")).exists():
            check_tiles(tiles)
        begin_best(best_model, best_before)
        ap = {"000": 30.0, "001": 20.0, "002": 40.0, "003": 41.0}[best_model.stem[-3:]]
        if ap > best_ap:
            best_model.write_text(f"{ap}", encoding="utf-8")
        final_model.write_text(f"{ap}", encoding="utf-8")
        return max(ap, best_ap)

    def evaluate(config, weights, dataset, thresholds):
        ap = float(weights.read_text(encoding="utf-8"))
        return [Scores(ap, {"a": ap, "b": ap})] * len(thresholds)

    def score_images(config, weights, folder, images, **options):
        content = weights.read_text(encoding="utf-8")
        return {name: make_record(name, [len(content + name) / (11 + int(name[:2]))]) for name in images}

    config = type("Config", (), {"SEED": 0})
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(network_config, "network_config", lambda *arguments: None)
    monkeypatch.setattr(network_config, "training_config", lambda *arguments, **options: config())
    monkeypatch.setattr(training, "register_dataset", lambda *arguments: None)
    monkeypatch.setattr(training_tiles, "_plan", lambda *arguments: TilePlan(24, 0.2, (1, 2, 3), 0, 10**6))
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(evaluation, "evaluate_weights", evaluate)
    monkeypatch.setattr(acquire, "score_images", score_images)
    monkeypatch.setattr(acquire, "explain_images", lambda *where, **what: None)
    # The real one plots for a second, and each run has several.
    monkeypatch.setattr(
        loop_module, "try_to_write_report", lambda folder: write_atomically(folder / "report.html", "report")
    )


def check_tiles(folder: Path) -> None:
    """What a training would read: each is whole, and there are no others."""
    names = [one["file_name"] for one in json.loads((folder / "tiles.json").read_text(encoding="utf-8"))["images"]]
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
    assert sorted(files) == sorted([*names, "tiles.json"])
    assert not any(pixels_fault(folder / name) for name in names)


class Annotated:
    """What a person made: two different files an image where there is one already, and faulty ones."""

    def __init__(self, folder: Path, answers: Mapping[str, bytes]) -> None:
        self.folder = folder
        self.answers = answers
        self.made: dict[Path, bytes] = {}

    def begin(self) -> None:
        """Every third image has a faulty file beside it."""
        for name in sorted(self.answers)[::3]:
            self._save(self.folder / "train" / f"{name}.json", b'{"shapes": [' + name.encode())

    def work(self) -> None:
        for copy in sorted((self.folder / "train" / "annotate").glob("*.png")):
            self._save(copy.with_suffix(".json"), self.answers[copy.stem])

    def _save(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.made[path] = content

    def lost(self) -> list[Path]:
        there = {path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        return [path for path, content in self.made.items() if content not in there]


def start(settings: Settings) -> ActiveLearningLoop:
    with only_run(settings):
        loop = ActiveLearningLoop(settings, settings.experiments()[0], wait=False)
        maskAL.run_experiment(loop)
        return loop


def go(settings: Settings, person: Annotated, at_step: int) -> ActiveLearningLoop:
    """Starts again whenever it ends, until the run is through."""
    DEATH.at_step, DEATH.steps = at_step, 0
    for _ in range(12):
        try:
            with DEATH.below(person.folder):
                return start(settings)
        except AnnotationsAwaited:
            person.work()
        except DeadError:
            DEATH.at_step = 0
    raise AssertionError("the run does not come to its end")


@pytest.mark.parametrize(
    "changes",
    [{}, {"work_ahead": True, "loops": 3}, {"tile_size": 64, "loops": 1}],
    ids=["", "work_ahead", "tiles"],
)
def test_a_run_that_dies_at_any_step_goes_on(settings, network, tmp_path, changes):
    template = tmp_path / "template"
    template.mkdir()
    for split in ("train", "val", "test"):
        (tmp_path / split).rename(template / split)
    answers = {path.stem: path.read_bytes() + b"\n" for path in (template / "train").glob("*.json")}
    for path in (template / "train").glob("*.json"):
        path.unlink()

    def run(at_step: int) -> tuple[list[str], str, list[str]]:
        folder = tmp_path / f"run{at_step}"
        shutil.copytree(template, folder)
        roots = {"weightsroot": "weights", "resultsroot": "results", "dataroot": "data"}
        splits = {f"{split}dir": split for split in ("train", "val", "test")}
        folders = {key: folder / name for key, name in {**roots, **splits}.items()}
        person = Annotated(folder, answers)
        person.begin()
        loop = go(Settings(**{**settings.model_dump(), **folders, **changes}), person, at_step)
        assert not person.lost(), f"at step {at_step}"
        assert not [*(folder / "weights").rglob("tiles"), *folder.rglob(f"*{DRAFT}")], f"at step {at_step}"
        state = json.loads(loop.run.files.state.read_text(encoding="utf-8"))
        kept = sorted(path.name for path in (folder / "train").rglob("*") if path.is_file())
        return state["train_images"], loop.run.files.scores.read_text(encoding="utf-8"), kept

    images, scores, kept = run(0)
    steps = DEATH.steps
    assert steps > 100
    assert sum(name.endswith(".orig") for name in kept) > 1
    for at_step in range(1, steps + 1, STRIDE):
        assert run(at_step)[:2] == (images, scores), f"at step {at_step}"
        shutil.rmtree(tmp_path / f"run{at_step}")
