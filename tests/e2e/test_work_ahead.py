"""work_ahead as a user has it: a scripted person annotates while the program trains, in one process and in two."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from active_learning.run.state import RunState

pytestmark = pytest.mark.e2e
SHORT = {"train_iterations_base": 12, "eval_period": 12, "mcd_iterations": 2, "images_without_detections": "choose"}


class Person:
    """Annotates what lies in the annotate folder, and notes in which phase the run was by then."""

    def __init__(self, project) -> None:
        self.train: Path = project.train
        self.state: Path = project.file("results", "exp1", "uncertainty", "run_state.json")
        self.answers = {path.name: path.read_bytes() for path in self.train.rglob("*.json")}
        for path in self.train.rglob("*.json"):
            path.unlink()
        self.phases: dict[int, set[str]] = {}

    def work(self) -> None:
        """What the run takes at this moment lies in a hidden folder, where no person looks."""
        for image in sorted((self.train / "annotate").rglob("*.png")):
            target, name = image.with_suffix(".json"), image.relative_to(self.train / "annotate").as_posix()
            if not target.exists() and not name.startswith("."):
                state = RunState.load(self.state)
                is_ahead = name in state.ahead
                self.phases.setdefault(state.loop + is_ahead, set()).add("ahead" if is_ahead else state.phase)
                target.write_bytes(self.answers[target.name])


@pytest.mark.parametrize("processes", [1, 2])
def test_images_are_annotated_while_a_loop_trains(tiny_project, processes):
    tiny_project.settings(work_ahead=True, pool_size=2, loops=3, **SHORT)
    person = Person(tiny_project)
    process = tiny_project.start(processes=processes)
    deadline = time.monotonic() + 400
    while process.poll() is None and time.monotonic() < deadline:
        person.work()
        if person.state.exists() and RunState.load(person.state).phase == "annotate":
            time.sleep(1)
            if (person.train / "annotate").is_dir():
                (person.train / "annotate" / "DONE").touch()
        time.sleep(0.2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    state = RunState.load(person.state)
    assert [row.train_size for row in state.history] == [6, 8, 10, 12]
    assert person.phases == {0: {"annotate"}, 1: {"annotate"}, 2: {"ahead"}, 3: {"ahead"}}
    assert "2 images chosen ahead for loop 2 of 3, by the network of loop 0" in output
    assert "person waited" in output and "computer waited" in output
    assert not (person.train / "annotate").exists()
    report = tiny_project.file("results", "exp1", "report.html").read_text(encoding="utf-8")
    assert "Who waited for whom" in report


def test_without_waiting_it_trains_before_it_exits_for_more(tiny_project):
    tiny_project.settings(work_ahead=True, pool_size=3, loops=2, **SHORT)
    person, codes = Person(tiny_project), []
    for _ in range(4):
        code, output = tiny_project.run("--no-wait")
        codes.append((code, output.count("Measuring the mAP")))
        person.work()
        if code:
            (person.train / "annotate" / "DONE").touch()  # spares the half minute
    assert codes == [(3, 0), (3, 1), (3, 1), (0, 1)], output
