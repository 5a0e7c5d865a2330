"""auto_annotate and annotator in a run, as a user has them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from active_learning.annotations import read_annotation
from tests.contents import contents

pytestmark = pytest.mark.e2e

SHORT = {"strategy": "random", "loops": 1, "pool_size": 4, "train_iterations_base": 10, "eval_period": 10}
# Stands in for LabelMe 5: knows its options, annotates all images of the folder, and stays open.
FAKE_LABELME = """
import json, pathlib, sys, time
if "--help" in sys.argv:
    print("--nodata --autosave --labels LABELS --validatelabel {exact}")
    sys.exit()
notes = pathlib.Path(__file__).with_suffix(".txt")
notes.write_text(json.dumps(sys.argv[1:]), encoding="utf-8")
shape = {"label": "disc", "points": [[10, 10], [40, 10], [40, 40]], "shape_type": "polygon"}
for image in pathlib.Path(sys.argv[-1]).rglob("*.png"):
    document = {"shapes": [shape], "imagePath": image.name, "imageData": None, "imageHeight": 96, "imageWidth": 96}
    image.with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")
time.sleep(300)
notes.write_text("was not ended", encoding="utf-8")
"""


def start_from(project, count: int) -> dict[str, bytes]:
    """Only `count` images are annotated, and the run starts from these; returns what the other files held."""
    initial = project.file("data", "initial")
    initial.mkdir()
    taken = {}
    for number, path in enumerate(sorted(project.train.rglob("*.json"))):
        if number < count:
            (initial / path.name).write_bytes(path.read_bytes())
            (initial / f"{path.stem}.png").write_bytes(path.with_suffix(".png").read_bytes())
        taken[path.relative_to(project.train).with_suffix("").as_posix()] = path.read_bytes()
        path.unlink()
    project.settings(use_initial_train_dir=True, initial_train_dir="data/initial", **SHORT)
    return taken


def wait_for(process, seen, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_pre_labels_are_corrected_and_confirmed(tiny_project):
    taken = start_from(tiny_project, 6)
    tiny_project.settings(auto_annotate=True, confidence_threshold=0.05)
    annotate = tiny_project.train / "annotate"
    code, output = tiny_project.run("--no-wait")
    assert code == 3, output
    images = sorted(path.relative_to(annotate) for path in annotate.rglob("*.png"))
    assert len(images) == 4
    count = 0
    for image in images:
        path = (annotate / image).with_suffix(".json")
        found = read_annotation(path, image=image.as_posix(), size=(96, 96))
        assert not found.warnings
        assert all(0.05 <= one.score <= 1 and one.label in ("disc", "square") for one in found.instances)
        count += len(found.instances)
    assert count > 0
    assert output.count("pre-labelled, to be corrected") == 4

    corrected = (annotate / images[0]).with_suffix(".json")
    corrected.write_bytes(taken[images[0].with_suffix("").as_posix()])
    before = contents(annotate)
    code, output = tiny_project.run("--no-wait")
    assert code == 3, output
    assert contents(annotate) == before

    process = tiny_project.start()
    log = tiny_project.file("results", "exp1", "random", "maskAL.log")
    length = len(log.read_text(encoding="utf-8"))
    wait_for(process, lambda: "put an empty file" in log.read_text(encoding="utf-8")[length:])
    time.sleep(3)
    assert contents(annotate) == before
    (annotate / "DONE").touch()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert not annotate.exists()
    for image in images:
        beside = (tiny_project.train / image).with_suffix(".json")
        assert beside.read_bytes() == before[image.with_suffix(".json").as_posix()]


def test_the_annotation_tool_is_started_and_ended(tiny_project):
    start_from(tiny_project, 0)
    tool = tiny_project.file("fake labelme.py")
    tool.write_text(FAKE_LABELME, encoding="utf-8")
    tiny_project.settings(
        use_initial_train_dir=False, annotator=f'"{sys.executable}" "{tool}"', loops=0, train_iterations_base=5
    )
    process = tiny_project.start()
    log = tiny_project.file("results", "exp1", "random", "maskAL.log")
    wait_for(process, lambda: log.exists() and "All images are annotated" in log.read_text(encoding="utf-8"))
    time.sleep(3)
    assert (tiny_project.train / "annotate").exists()  # whoever has it open may not be done
    (tiny_project.train / "annotate" / "DONE").touch()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    given = json.loads(tool.with_suffix(".txt").read_text(encoding="utf-8"))
    assert given[:-1] == ["--nodata", "--autosave", "--labels=disc,square", "--validatelabel=exact"]
    assert Path(given[-1]).name == "annotate"
    assert len(list(tiny_project.train.rglob("*.json"))) == 6
    assert not (tiny_project.train / "annotate").exists()


def test_a_tool_that_is_not_there_is_a_settings_error(tiny_project):
    before = contents(tiny_project.folder)
    code, output = tiny_project.run("annotator", "labelmee --x")
    assert code == 2
    assert "annotator: there is no program 'labelmee'" in output
    assert contents(tiny_project.folder) == before
