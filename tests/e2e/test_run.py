"""The program as a user runs it, as a process of its own, on a tiny data set."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.e2e


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def train_files(path: Path) -> dict[str, str]:
    return dict(line.rsplit(", ", 1) for line in path.read_text(encoding="utf-8").splitlines())


def test_a_whole_run_chooses_and_retrains(tiny_project):
    tiny_project.settings(train_iterations_base=60, eval_period=30, learning_rate=0.03)
    code, output = tiny_project.run(as_a_user=True)
    assert code == 0, output
    results, weights = (
        tiny_project.file("results", "exp1", "uncertainty"),
        tiny_project.file("weights", "exp1", "uncertainty"),
    )

    header, *rows = rows_of(results / "uncertainty.csv")
    assert header == ["train_size", "mAP", "mAP-disc", "mAP-square", "objects"]
    assert [row[0] for row in rows] == ["6", "9", "12"]
    assert float(rows[-1][1]) > 5, output
    lists = [train_files(results / f"trainfiles_iteration{loop:03d}.txt") for loop in range(3)]
    assert [len(names) for names in lists] == [6, 9, 12]
    assert set(lists[0]) < set(lists[1]) < set(lists[2])
    for before, now in zip(lists, lists[1:], strict=False):
        new = [now[name] for name in set(now) - set(before)]
        assert all(0 <= float(value) <= 1 and len(value) == 8 for value in new)
        assert all(now[name] == "NaN" for name in before)
    scored = train_files(results / "pool_certainty000.csv")
    chosen = {name: float(lists[1][name]) for name in set(lists[1]) - set(lists[0])}
    others = [float(value) for name, value in scored.items() if name not in chosen and not math.isnan(float(value))]
    assert not others or max(chosen.values()) <= min(others)

    assert (weights / "model_final.pth").exists()
    assert (weights / "best_model_002.pth").exists()
    assert (weights / "training002" / "metrics.json").exists()
    assert not list(tiny_project.folder.rglob("*.maskal-draft"))
    assert "train size" in output
    report = tiny_project.file("results", "exp1", "report.html").read_text(encoding="utf-8")
    assert rows_of(results / "label_check.csv")[0][:5] == ["image", "split", "object", "class", "finding"]
    assert "label check could not" not in output
    assert 'id="learning-curve"' in report and 'id="why"' in report
    assert "http" not in report
    coco = json.loads(tiny_project.file("data", "train.json").read_text(encoding="utf-8"))
    assert [category["id"] for category in coco["categories"]] == [1, 2]
    assert len(coco["images"]) == 12

    code, output = tiny_project.run()
    assert code == 0
    assert "loop 2 of 2 is done" in output
    assert rows_of(results / "uncertainty.csv") == [header, *rows]

    tiny_project.study("uncertainty_forward_passes.py", "--passes", "12", "--images", "2")
    tiny_project.study("tsne.py", "--img_dir", "data/train", "confidence_threshold", "0.05", "iou_thres", "0.3")
    written = {path.name for path in (results / "study").iterdir()}
    assert written - {".maskal-files", ".maskal-files.lock"} == {
        "forward_passes.csv",
        "forward_passes_summary.csv",
        "forward_passes.png",
        "tsne.csv",
        "tsne.png",
    }


class Annotator(threading.Thread):
    """A person: annotates what lies in the annotate folder, a broken file first until the log names it."""

    def __init__(self, folder: Path, log: Path, answers: dict[str, bytes]) -> None:
        super().__init__(daemon=True)
        self.folder, self.log, self.answers, self.asked = folder, log, answers, set()
        self.broken = ""
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.3):
            for image in sorted(self.folder.rglob("*.png")):
                name = image.relative_to(self.folder).as_posix()
                if name not in self.asked:
                    self.asked.add(name)
                    self.annotate(image, name)
                    with suppress(FileNotFoundError):  # all are collected
                        (self.folder / "DONE").touch()

    def annotate(self, image: Path, name: str) -> None:
        target = image.with_suffix(".json")
        if len(self.asked) == 1:
            self.broken = name
            target.write_bytes(self.answers[name][:40])
            while f"{target.name}: line 1, column " not in self.log.read_text(encoding="utf-8"):
                if self.over.wait(0.3):
                    return
        target.write_bytes(self.answers[name])


def test_only_missing_annotations_are_asked_for_and_none_is_lost(tiny_project):
    train = tiny_project.train
    taken = {}
    for path in sorted(train.rglob("*.json"))[3:6] + sorted((train / "Feld ä").glob("*.json"))[:2]:
        taken[path.relative_to(train).with_suffix(".png").as_posix()] = path.read_bytes()
        path.unlink()
    tiny_project.settings(loops=1, pool_size=6, train_iterations_base=20, eval_period=20)
    annotator = Annotator(train / "annotate", tiny_project.file("results", "exp1", "random", "maskAL.log"), taken)
    annotator.start()
    process = tiny_project.start("strategy", "random")
    try:
        output, _ = process.communicate(timeout=400)
    finally:
        process.kill()
        annotator.over.set()
    assert process.returncode == 0, output
    assert annotator.asked == set(taken)
    for name, content in taken.items():
        assert (train / name).with_suffix(".json").read_bytes() == content
    assert not list((train / "annotate").rglob("*.png"))
    assert f"{Path(annotator.broken).stem}.json: line 1, column " in output


def test_waiting_costs_no_processor_time(tiny_project):
    for path in tiny_project.train.rglob("*.json"):
        path.unlink()
    process = tiny_project.start()
    try:
        watched = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        while len(list((tiny_project.train / "annotate").rglob("*.png"))) < 6:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        time.sleep(2)
        before = sum(watched.cpu_times()[:2])
        time.sleep(6)
        assert sum(watched.cpu_times()[:2]) - before < 2  # a loop without a pause takes 6
    finally:
        process.kill()
        process.communicate()


def test_no_wait_names_the_images_and_exits_with_3(tiny_project):
    gone = sorted(tiny_project.train.rglob("*.json"))
    for path in gone:
        path.unlink()
    code, output = tiny_project.run("--no-wait")
    assert code == 3, output
    copies = sorted((tiny_project.train / "annotate").rglob("*.png"))
    assert len(copies) == 6
    for copy in copies:
        assert copy.relative_to(tiny_project.train / "annotate").as_posix() in output


def test_check_tells_the_plan_and_changes_nothing(tiny_project):
    before = sorted(tiny_project.folder.rglob("*"))
    code, output = tiny_project.run("--check")
    assert code == 0, output
    assert "train size" in output
    assert sorted(tiny_project.folder.rglob("*")) == before


def test_check_names_a_faulty_annotation(tiny_project):
    victim = sorted(tiny_project.train.glob("*.json"))[2]
    victim.write_text(victim.read_text(encoding="utf-8").replace("disc", "dysc"), encoding="utf-8")
    code, output = tiny_project.run("--check")
    assert code == 1
    assert victim.name in output
    assert "did you mean 'disc'" in output


def test_five_mistakes_come_in_one_message(tiny_project):
    tiny_project.settings(
        learning_rate=-1, strateggy="random", initial_datasize="many", nms_threshold=3, testdir="nowhere"
    )
    before = sorted(tiny_project.folder.rglob("*"))
    started = time.monotonic()
    code, output = tiny_project.run()
    assert time.monotonic() - started < 5
    assert code == 2
    for word in ("learning_rate", "strateggy", "initial_datasize", "nms_threshold", "testdir"):
        assert word in output
    assert sorted(tiny_project.folder.rglob("*")) == before


def test_fresh_moves_the_earlier_run_aside(tiny_project):
    """And nothing of a person: a folder without a run's state stays where it is, as do files beside a run."""
    results = tiny_project.file("results", "exp1")
    for file in ("random/run_state.json", "photos/a.png", "notes.txt"):
        (results / file).parent.mkdir(parents=True, exist_ok=True)
        (results / file).write_text("mine", encoding="utf-8")
    for path in tiny_project.train.rglob("*.json"):
        path.unlink()
    code, _ = tiny_project.run("--fresh", "--no-wait")
    assert code == 3
    kept = list(tiny_project.file("results").glob("exp1.bak-*"))
    assert [path.relative_to(folder).as_posix() for folder in kept for path in folder.rglob("*") if path.is_file()] == [
        "random/run_state.json"
    ]
    assert all((results / file).read_text(encoding="utf-8") == "mine" for file in ("photos/a.png", "notes.txt"))
