"""The label check of a run: a fake plays the network, which sees what it is told to."""

from __future__ import annotations

import csv
import errno
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from active_learning.errors import MaskALError
from active_learning.label_check import check, results
from active_learning.label_check.check import check_measured_images, check_new_images
from active_learning.label_check.comparison import Match
from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.passes import ComparedImage, digest_of
from active_learning.label_check.pictures import read_pictures
from active_learning.label_check.results import read_results
from active_learning.run.run import Run
from active_learning.sampling.observations import Mask
from active_learning.settings import Settings

OBJECT = (2, 2, 20, 20)  # as annotated_image has it


@dataclass
class FakePasses:
    """Detects each object as annotated, but for images in `missing`, in which it detects one more."""

    missing: set[str] = field(default_factory=set)
    calls: list[tuple[dict[str, list[str]], int]] = field(default_factory=list)

    def __call__(self, run: Run, images: dict[str, list[str]], loop: int) -> list[ComparedImage]:
        self.calls.append((images, loop))
        pairs = ((split, name) for split, names in images.items() for name in names)
        return [self.compared(run, *pair) for pair in pairs]

    def compared(self, run: Run, split: str, name: str) -> ComparedImage:
        digest = digest_of(run.data.annotated(split, [name]).get(name))
        return ComparedImage(split, name, 24, 32, self.matches(f"{split}/{name}"), digest)

    def matches(self, image: str) -> tuple[Match, ...]:
        same = Match(0, 0, OBJECT, 324, np.array([0.97, 0.01]), 10, 0.95, 0.95)
        if image not in self.missing:
            return (same,)
        mask = Mask(22, 4, np.ones((8, 8), dtype=bool), 64)
        return same, Match(-1, -1, mask.bounds, 64, np.array([0.98, 0.01]), 10, 0.95, observed=mask)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> FakePasses:
    fake = FakePasses()
    monkeypatch.setattr(check, "_compared", fake)
    return fake


@pytest.fixture
def run(settings: Settings) -> Run:
    """In loop 1, which has added three images."""
    run = Run(settings, settings.experiments()[0])
    run.state.loop, run.state.train_images = 1, [f"{number:02d}.png" for number in range(7)]
    run.state.chosen = {"04.png": 0.1, "05.png": 0.2, "06.png": 0.3}
    return run


def rows(run: Run) -> list[dict[str, str]]:
    with run.files.label_findings.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_new_images_are_checked_by_the_newest_network(run: Run, passes: FakePasses):
    check_new_images(run)
    names = [f"{number:02d}.png" for number in range(2)]
    assert passes.calls == [({"val": names, "test": names}, 0), ({"train": ["04.png", "05.png", "06.png"]}, 0)]
    check_new_images(run)
    assert len(passes.calls) == 2  # done is done
    for loop, count in ((2, 4), (1, 5)):  # a person puts back the state of loop 1, which is then redone
        run.state.loop = loop
        check_new_images(run)
        assert len(passes.calls) == count


def test_a_finding_is_written_with_all_that_people_need(run: Run, passes: FakePasses, caplog):
    passes.missing = {"train/05.png"}
    with caplog.at_level(logging.INFO):
        check_new_images(run)
    (row,) = rows(run)
    assert {key: row[key] for key in ("image", "split", "object", "class", "finding", "loop")} == {
        "image": "05.png", "split": "train", "object": "", "class": "", "finding": "missing object", "loop": "1",
    }  # fmt: skip
    assert [row[key] for key in ("x0", "y0", "x1", "y1")] == ["22", "4", "30", "12"]
    assert row["expected"] == "Expected a, as 10 of 10 passes detect an object here, mostly that; nothing is annotated."
    assert 0.2 < float(row["certainty"]) <= 1


def test_a_csv_that_another_program_holds_is_no_reason_to_lose_findings(
    run: Run, passes: FakePasses, monkeypatch, caplog
):
    def locked(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    passes.missing = {"train/05.png"}
    monkeypatch.setattr(results, "write_own", locked)
    check_new_images(run)
    assert "label_check.csv: cannot be written: Permission denied; the next check writes it anew" in caplog.text
    assert [one.image for one in read_results(run.files).findings] == ["05.png"]
    monkeypatch.undo()
    monkeypatch.setattr(check, "_compared", passes)
    check_measured_images(run)
    assert [row["image"] for row in rows(run)] == ["05.png"]


def test_pictures_that_cannot_be_written_are_no_reason_to_lose_findings(
    run: Run, passes: FakePasses, monkeypatch, caplog
):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    passes.missing = {"train/05.png"}
    monkeypatch.setattr(check, "write_pictures", fail)
    check_new_images(run)
    assert "The report will show no pictures of annotations that look wrong: [Errno 28] No space left" in caplog.text
    assert [row["image"] for row in rows(run)] == ["05.png"]


def test_how_many_annotations_look_wrong_is_logged(run: Run, passes: FakePasses, caplog, monkeypatch):
    passes.missing = {"train/05.png"}
    monkeypatch.setattr(LabelFinding, "is_likely", True)
    with caplog.at_level(logging.INFO):
        check_new_images(run)
    assert "1 annotation looks wrong (" in caplog.text
    assert "/label_check.csv" in caplog.text.replace("\\", "/")


def test_the_network_of_a_loop_sees_validation_and_test_images_once(run: Run, passes: FakePasses):
    run.state.loop = 0
    check_measured_images(run)
    run.state.loop = 1
    check_new_images(run)
    assert [(list(images), loop) for images, loop in passes.calls] == [(["val", "test"], 0), (["train"], 0)]
    check_measured_images(run)
    assert [(list(images), loop) for images, loop in passes.calls[2:]] == [(["val", "test"], 1)]


def test_what_is_corrected_is_found_no_more(run: Run, passes: FakePasses):
    passes.missing = {"train/05.png"}
    check_new_images(run)
    assert [row["image"] for row in rows(run)] == ["05.png"]
    check_measured_images(run)
    assert [row["image"] for row in rows(run)] == ["05.png"]
    run.state.loop = 2
    file = run.settings.traindir / "05.json"
    file.write_text(file.read_text(encoding="utf-8").replace("20, 20", "21, 21"), encoding="utf-8")
    check_measured_images(run)
    assert rows(run) == []


def test_odd_objects_of_all_annotated_images_are_among_the_findings(run: Run, passes: FakePasses):
    file = run.settings.traindir / "01.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["shapes"] *= 2
    file.write_text(json.dumps(document), encoding="utf-8")
    check_measured_images(run)
    (row,) = rows(run)
    assert (row["image"], row["object"], row["finding"]) == ("01.png", "shapes[1]", "drawn twice")
    (picture,) = read_pictures(run.files.label_check)
    assert picture.finding.annotated and (run.files.label_check / picture.picture).stat().st_size > 100


@pytest.mark.parametrize("label_check", [True, "review"])
def test_a_failure_is_a_warning(run: Run, monkeypatch, caplog, label_check: bool | str):
    def fail(*what: object) -> list[ComparedImage]:
        raise MaskALError("05.png: no network today")

    run.settings = run.settings.model_copy(update={"label_check": label_check})
    monkeypatch.setattr(check, "_compared", fail)
    check_new_images(run)
    assert "The label check could not be made; the run goes on without: 05.png: no network today" in caplog.text
    assert not run.files.label_findings.exists()


def test_off_is_off(run: Run, passes: FakePasses):
    run.settings = run.settings.model_copy(update={"label_check": False})
    check_measured_images(run)
    check_new_images(run)
    assert passes.calls == [] and not run.files.label_check.exists()


@pytest.mark.parametrize("name", ["findings.json", "detected000.json"])
@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"name": 3}]', '{"measured": "x"}'])
def test_damaged_files_are_a_warning(run: Run, passes: FakePasses, caplog, name: str, content: str):
    check_new_images(run)
    for file in run.files.label_check.glob("*.json"):
        file.unlink()
    (run.files.label_check / name).write_text(content, encoding="utf-8")
    check_new_images(run)
    assert f"{run.files.label_check / name}: " in caplog.text or read_results(run.files).batch == 1


def test_a_persons_file_of_that_name_is_kept(run: Run, passes: FakePasses):
    run.files.label_findings.parent.mkdir(parents=True, exist_ok=True)
    run.files.label_findings.write_text("mine", encoding="utf-8")
    check_measured_images(run)
    assert Path(f"{run.files.label_findings}.orig").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("step", ["pictures", "csv", "findings"])
def test_a_check_that_is_ended_while_it_is_written_is_made_again(run: Run, passes: FakePasses, monkeypatch, step: str):
    file = run.settings.traindir / "01.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**document, "shapes": document["shapes"] * 2}), encoding="utf-8")
    place, name = {
        "pictures": (check, "write_pictures"), "csv": (results, "write_own"), "findings": (results, "write_atomically"),
    }[step]  # fmt: skip

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(place, name, die)
        check_measured_images(run)
    check_measured_images(run)
    assert [row["finding"] for row in rows(run)] == ["drawn twice"]
    assert len(read_pictures(run.files.label_check)) == 1
    assert read_results(run.files).measured == 1
