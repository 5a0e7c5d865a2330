"""A run with `label_check: review`, from the first finding to the corrected annotation."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from active_learning import loop as loop_module
from active_learning.annotating import waiting
from active_learning.errors import AnnotationsAwaited
from active_learning.label_check import check
from active_learning.label_check import findings as findings_module
from active_learning.label_check.findings import LabelFinding
from active_learning.label_check.passes import ComparedImage
from active_learning.run.run import Run
from active_learning.settings import Settings
from tests.active_learning.conftest import annotated_image
from tests.active_learning.label_check.test_check import FakePasses
from tests.active_learning.test_loop import FakeNetwork, changed, go
from tests.active_learning.test_work_ahead import Person, while_training
from tests.active_learning.test_work_ahead import go as start_again_and_again


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, make_record) -> FakeNetwork:
    fake = FakeNetwork(make_record)
    fake.install(monkeypatch)
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.0)
    return fake


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, network: FakeNetwork) -> FakePasses:
    monkeypatch.setattr(loop_module, "try_to_write_report", lambda folder: None)
    fake = FakePasses({"val/00.png"})
    monkeypatch.setattr(check, "_compared", fake)
    return fake


def taken_away(settings: Settings) -> Path:
    """The annotations of the training images but the initial ones lie elsewhere."""
    aside = settings.traindir.parent / "aside"
    aside.mkdir()
    initial = set((settings.dataroot / "initial_train.txt").read_text(encoding="utf-8").split())
    for file in settings.traindir.glob("*.json"):
        if f"{file.stem}.png" not in initial:
            shutil.move(file, aside / file.name)
    return aside


def findings(settings: Settings) -> list[str]:
    with next(settings.resultsroot.rglob("label_check.csv")).open(encoding="utf-8", newline="") as stream:
        return [f"{row['split']}/{row['image']}" for row in csv.DictReader(stream)]


@pytest.mark.parametrize("corrects", [True, False])
def test_a_validation_image_is_offered_corrected_and_used(settings: Settings, passes: FakePasses, corrects: bool):
    for number in range(2, 30):  # so many that one finding among them is likely
        annotated_image(settings.valdir / f"{number:02d}.png")
    settings = changed(settings, {"label_check": "review", "loops": 1})
    go(changed(settings, {"loops": 0}), wait=False)
    aside = taken_away(settings)
    with pytest.raises(AnnotationsAwaited):
        go(settings, wait=False)
    assert findings(settings) == ["val/00.png"]
    offered, before = settings.valdir / "annotate" / "00.json", (settings.valdir / "00.json").read_bytes()
    assert offered.read_bytes() == before
    if corrects:
        offered.write_text(offered.read_text(encoding="utf-8").replace("20, 20", "21, 21"), encoding="utf-8")
        passes.missing.clear()
    for image in (settings.traindir / "annotate").glob("*.png"):
        shutil.copy(aside / f"{image.stem}.json", image.with_suffix(".json"))
    assert go(settings, wait=False).finished
    orig = settings.valdir / "00.json.orig"
    assert orig.exists() == ((settings.valdir / "00.json").read_bytes() != before) == corrects
    assert not offered.exists()
    assert findings(settings) == ([] if corrects else ["val/00.png"])
    assert ("21.0" in (settings.dataroot / "val.json").read_text(encoding="utf-8")) == corrects


def test_a_failing_check_ends_no_run(settings: Settings, passes: FakePasses, monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(run: Run, images: object, loop: int) -> list[ComparedImage]:
        raise RuntimeError("CUDA error: no kernel today")

    monkeypatch.setattr(check, "_compared", fail)
    assert go(settings).finished
    assert capsys.readouterr().out.count("The label check could not be made") == 5  # 3 trainings, 2 batches


@dataclass
class Offered:
    """What lies in the annotate folders for correction while loop 2 trains, and the person who corrects one of it.

    The images of loop 2 are annotated while loop 1 trains, and one of each batch looks wrong.
    """

    person: Person
    corrects: str
    passes: FakePasses
    files: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.person.folder.parent

    def annotate(self) -> None:
        self.passes.missing.add(f"train/{self.person.work()[0]}")

    def work(self, loop: int) -> None:
        if loop == 1:
            self.annotate()
            self.passes.missing.add("val/01.png")
        if loop == 2:
            self.files = sorted(file.relative_to(self.root).as_posix() for file in self.root.glob("*/annotate/*.json"))
            for path in (self.root / file for file in self.files if file.startswith(self.corrects)):
                path.write_text(path.read_text(encoding="utf-8").replace("20, 20", "21, 21"), encoding="utf-8")


@pytest.mark.parametrize("corrects", ["val", "train", "nothing"])
@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends early"])
def test_images_are_offered_with_those_that_are_annotated_ahead(
    settings: Settings, network: FakeNetwork, passes: FakePasses, monkeypatch, corrects: str, ends: bool
):
    """What is corrected while a loop trains is used in the next, or kept beside its image; no offer stays behind."""
    monkeypatch.setattr(LabelFinding, "is_likely", True)
    for module in (check, findings_module):
        monkeypatch.setattr(module, "LISTED", 0.05)  # of so few images nothing is sure
    asked = changed(
        settings, {"label_check": "review", "work_ahead": True, "loops": 3, "patience": 1 if ends else None}
    )
    offered = Offered(Person(settings.traindir), corrects, passes)
    root = offered.root
    while_training(monkeypatch, network, offered.work)
    state = start_again_and_again(asked, offered.annotate).run.state
    assert [row.train_size for row in state.history] == ([4, 7, 10] if ends else [4, 7, 10, 13])
    assert (
        len(offered.files) == 2 and offered.files[0].startswith("train") and offered.files[1] == "val/annotate/01.json"
    )
    assert list(root.glob("*/annotate/*.json")) == [*root.glob("val/annotate/*")] == []
    former = [file.replace("annotate/", "") + ".orig" for file in offered.files if file.startswith(corrects)]
    assert [file.relative_to(root).as_posix() for file in root.glob("*/*.orig")] == former
    assert all("21, 21" in (root / file.removesuffix(".orig")).read_text(encoding="utf-8") for file in former)
