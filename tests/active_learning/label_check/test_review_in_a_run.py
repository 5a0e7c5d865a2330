"""A run with `label_check: review`, from the first finding to the corrected annotation."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from active_learning import loop as loop_module
from active_learning.errors import AnnotationsAwaited
from active_learning.label_check import check
from active_learning.label_check.passes import ComparedImage
from active_learning.run.run import Run
from active_learning.settings import Settings
from tests.active_learning.conftest import annotated_image
from tests.active_learning.label_check.test_check import FakePasses
from tests.active_learning.test_loop import FakeNetwork, changed, go


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, make_record) -> FakePasses:
    FakeNetwork(make_record).install(monkeypatch)
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
