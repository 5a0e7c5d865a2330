"""Pre-labels, confirmation and the tool, without a network: `Predictor` plays it."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field

import numpy as np
import pytest

from active_learning.annotating import waiting
from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.request import collect_last, request_annotations
from active_learning.annotations import FORMATS, Annotation, Bitmap, Instance, Part
from active_learning.annotations.coco import CocoWriter
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.conversion.command import main as convert
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.errors import AnnotationError, AnnotationsAwaited
from active_learning.network.image_batches import UnreadableImage
from active_learning.settings import Settings
from active_learning.system import saving
from tests.active_learning.conftest import annotated_image
from tests.contents import contents

IMAGES = ["00.png", "01.png", "02.png"]


@dataclass
class Predictor:
    """Sees a square in each image but the last one asked for, in which it sees nothing."""

    unreadable: tuple[str, ...] = ()
    asked: list[list[str]] = field(default_factory=list)

    def __call__(self, folder, names):
        self.asked.append(list(names))
        square = Instance("b", bitmap=Bitmap(2, 3, np.ones((8, 9), bool)), score=0.5)
        for name in names:
            if name in self.unreadable:
                yield UnreadableImage(name, f"{folder / name}: cannot be read")
            else:
                yield Annotation(name, 24, 32, () if name == names[-1] else (square,))


@pytest.fixture
def project(settings, monkeypatch):
    """Settings whose training images have no annotation; polls are quick."""
    for path in settings.traindir.glob("*.json"):
        path.unlink()
    for name in ("POLL_SECONDS", "ANSWER_POLL_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.05)
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.5)
    return settings


def go(settings: Settings, *, predict: Predictor | None, wait: bool = False, **changes) -> None:
    settings = Settings(**{**settings.model_dump(), **changes})
    folder = AnnotateFolder(AnnotationCache(settings.traindir, settings.classes))
    request_annotations(folder, IMAGES, settings, wait=wait, predict=predict)


@pytest.mark.parametrize("name", FORMATS)
def test_pre_labels_wait_for_done(project, tmp_path, name):
    write_meta(tmp_path / "meta.json", project.classes)
    predict, keys = Predictor(), {"export_format": name, "supervisely_meta_json": tmp_path / "meta.json"}
    annotate = project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited, match="pre-labelled, to be corrected\n.*\n.*put an empty file"):
        go(project, predict=predict, **keys)
    before = contents(annotate)
    with pytest.raises(AnnotationsAwaited, match="DONE"):
        go(project, predict=predict, **keys)
    assert contents(annotate) == before
    assert predict.asked == [IMAGES]
    (annotate / "DONE").touch()
    go(project, predict=predict, **keys)
    assert not annotate.exists()
    folder = AnnotateFolder(AnnotationCache(project.traindir, project.classes))
    folder.fill(IMAGES)
    assert folder.progress().complete
    assert not folder.awaited


def test_what_a_person_corrected_is_kept_and_only_the_rest_is_predicted_again(project, caplog):
    predict, annotate = Predictor(), project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=predict)
    mine = json.dumps({"shapes": [], "imagePath": "00.png", "imageData": None, "by": "hand"})
    (annotate / "00.json").write_text(mine, encoding="utf-8")
    (annotate / "01.json").unlink()
    (annotate / "DONE").touch()
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(AnnotationsAwaited),
    ):  # what was annotated after DONE has not been seen by anyone
        go(project, predict=predict)
    assert predict.asked == [IMAGES, ["01.png"]]
    assert "DONE was there before the pre-labels: make it again when they are corrected" in caplog.text
    assert not (annotate / "DONE").exists()
    (annotate / "DONE").touch()
    go(project, predict=predict)
    assert (project.traindir / "00.json").read_text(encoding="utf-8") == mine


def test_pre_labels_of_an_earlier_start_wait_for_done_although_none_are_made(project):
    annotate = project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor())
    with pytest.raises(AnnotationsAwaited, match="00.png: pre-labelled, to be corrected"):
        go(project, predict=None)  # auto_annotate was switched off, or it is another run
    (annotate / "DONE").touch()
    go(project, predict=None)
    assert (project.traindir / "00.json").is_file()
    assert not annotate.exists()


def test_a_faulty_annotation_holds_it_up_although_confirmed(project):
    predict, annotate = Predictor(), project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=predict)
    (annotate / "00.json").write_text('{"shapes": [', encoding="utf-8")
    (annotate / "DONE").touch()
    with pytest.raises(AnnotationsAwaited, match=r"00\.png: .*half-written"):
        go(project, predict=predict)
    assert (annotate / "DONE").exists()


def corrected(name: str) -> Annotation:
    return Annotation(name, 24, 32, (Instance("a", (Part(np.array([[2.0, 2], [20, 2], [20, 20], [2, 20]])),)),))


def coco(annotate, classes):
    writer = CocoWriter(classes)
    for name in IMAGES[:2]:
        writer.add(corrected(name))
    (annotate / "result.json").write_text(writer.text(), encoding="utf-8")


def cvat(annotate, classes):
    writer = CvatImagesWriter(classes)
    for name in IMAGES[:2]:
        writer.add(corrected(name))
    (annotate / "annotations.xml").write_text(writer.text(annotate), encoding="utf-8")


def cvat_zip(annotate, classes):
    cvat(annotate, classes)
    with zipfile.ZipFile(annotate / "task.zip", "w") as package:
        package.write(annotate / "annotations.xml", "annotations.xml")
    (annotate / "annotations.xml").unlink()


def yolo(annotate, classes):
    (annotate / "labels").mkdir()
    (annotate / "data.yaml").write_text("names: [a, b]", encoding="utf-8")
    for name in IMAGES[:2]:
        (annotate / "labels" / f"{name[:2]}.txt").write_text("0 .1 .1 .6 .1 .6 .8 .1 .8", encoding="utf-8")


def yolo_of_which_one_is_empty(annotate, classes):
    yolo(annotate, classes)
    (annotate / "labels" / "01.txt").unlink()
    (annotate / "01.txt").write_text("", encoding="utf-8")


def labels_of(path):
    shapes = json.loads(path.read_text(encoding="utf-8"))["shapes"]
    return sorted({shape["label"] for shape in shapes})


def named_command(message: str) -> list[str]:
    """The arguments of the command that a message ends a line with."""
    line = next(line for line in message.splitlines() if "convert" in line)
    return shlex.split(line.partition("python -m active_learning.annotations ")[2])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("export", [coco, cvat, cvat_zip, yolo, yolo_of_which_one_is_empty])
def test_corrections_in_a_file_of_many_images_win_over_pre_labels(project, tmp_path, name, export):
    """The message names the command that makes them readable, and it works; what is in no export stays pre-labelled."""
    write_meta(tmp_path / "meta.json", project.classes)
    keys = {"export_format": name, "supervisely_meta_json": tmp_path / "meta.json"}
    annotate = project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor(), **keys)
    export(annotate, project.classes)
    (annotate / "DONE").touch()
    for _ in range(2):
        with pytest.raises(AnnotationsAwaited, match="unchanged pre-labels are not collected") as awaited:
            go(project, predict=None, **keys)
        if "unpack it there" in str(awaited.value):
            zipfile.ZipFile(annotate / "task.zip").extractall(annotate)
    assert not list(project.traindir.glob("0?.*json"))
    assert convert(named_command(str(awaited.value))) == 0
    assert (annotate / "DONE").exists()
    go(project, predict=None, **keys)
    second = [] if export is yolo_of_which_one_is_empty else ["a"]
    assert [labels_of(project.traindir / f"{one}.json") for one in ("00", "01")] == [["a"], second]
    assert len(list(project.traindir.glob("02.*"))) == 2
    assert not [path for path in annotate.glob("0?.*") if path.suffix != ".txt"]


def test_an_export_of_what_is_collected_already_is_named_before_a_person_annotates_on(project, caplog):
    annotate = project.traindir / "annotate"
    FORMATS["labelme"].codec.write(Annotation("00.png", 24, 32, ()), project.traindir / "00.json")
    annotate.mkdir()
    with zipfile.ZipFile(annotate / "late.zip", "w") as package:
        package.writestr("ds/ann/00.png.json", "{}")
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=None)
    assert f"{annotate / 'late.zip'}: is an archive, which is not read; unpack it there" in caplog.text


def test_a_file_that_cannot_be_used_may_be_moved_away_where_pre_labels_are_right(project):
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor())
    annotate = project.traindir / "annotate"
    (annotate / "DONE").touch()
    coco(annotate, project.classes)
    with pytest.raises(AnnotationsAwaited, match="if they are right, move such files elsewhere"):
        go(project, predict=Predictor())
    (annotate / "result.json").unlink()
    go(project, predict=Predictor())
    assert labels_of(project.traindir / "00.json") == ["b"]


def test_an_export_beside_what_is_corrected_already_is_converted_as_well(project):
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor())
    annotate = project.traindir / "annotate"
    mine = json.dumps({"shapes": [], "imagePath": "02.png", "imageData": None, "by": "hand"})
    (annotate / "02.json").write_text(mine, encoding="utf-8")
    (annotate / "DONE").touch()
    coco(annotate, project.classes)
    with pytest.raises(AnnotationsAwaited) as awaited:
        go(project, predict=None)
    assert convert(named_command(str(awaited.value))) == 0
    go(project, predict=None)
    assert [labels_of(project.traindir / f"{one}.json") for one in ("00", "01")] == [["a"], ["a"]]
    assert (project.traindir / "02.json").read_text(encoding="utf-8") == mine


def test_at_the_end_of_a_run_pre_labels_stay_beside_an_export(project):
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor())
    annotate = project.traindir / "annotate"
    (annotate / "DONE").touch()
    coco(annotate, project.classes)
    assert collect_last(AnnotationCache(project.traindir, project.classes), [], IMAGES) == 0
    assert {path.name for path in annotate.glob("0?.json")} == {"00.json", "01.json", "02.json"}


def test_an_image_that_cannot_be_read_gets_no_pre_label(project, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(AnnotationsAwaited, match=r"01\.png: not annotated yet"):
        go(project, predict=Predictor(unreadable=("01.png",)))
    assert "01.png: cannot be read; it gets no pre-label" in caplog.text


def test_a_meta_json_that_does_not_fit_stops_it_before_anything_is_predicted(project, tmp_path):
    write_meta(tmp_path / "meta.json", ["a"])
    predict = Predictor()
    with pytest.raises(AnnotationError, match="class 'b' is not in the project"):
        go(project, predict=predict, export_format="supervisely", supervisely_meta_json=tmp_path / "meta.json")
    assert not predict.asked


def test_a_project_for_supervisely_is_made_and_completed_after_a_stop(project, tmp_path):
    write_meta(tmp_path / "meta.json", project.classes)
    keys = {"export_format": "supervisely", "supervisely_meta_json": tmp_path / "meta.json"}
    folder = project.traindir / "annotate" / "supervisely_project"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor(), **keys)
    whole = contents(folder)
    assert sorted(whole)[-1] == "meta.json"
    assert len(whole) == 7
    (folder / "ds" / "ann" / "01.png.json").unlink()
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=Predictor(), **keys)
    assert contents(folder) == whole


@pytest.mark.parametrize("pre_labelled", [False, True])
def test_images_that_share_a_name_are_named_and_can_be_held_apart(project, caplog, pre_labelled):
    for name in ("a.jpg", "a.png"):
        (project.traindir / name).write_bytes((project.traindir / "00.png").read_bytes())
    folder = AnnotateFolder(AnnotationCache(project.traindir, project.classes))
    annotate, aside = folder.path, folder.path / "second"
    options = {"wait": False, "predict": Predictor() if pre_labelled else None}
    with pytest.raises(AnnotationsAwaited), caplog.at_level(logging.WARNING):
        request_annotations(folder, ["a.jpg", "a.png"], project, **options)
    assert "a.jpg and a.png share a name: LabelMe has one file for both; before you open them move" in caplog.text
    aside.mkdir()
    for place, image in ((annotate, "a.jpg"), (aside, "a.png")):
        if place == aside:
            (annotate / image).rename(place / image)
        (annotate / f"{image}.json").unlink(missing_ok=True)
        text = json.dumps({"shapes": [], "imagePath": image, "imageData": None, "by": image})
        (place / "a.json").write_text(text, encoding="utf-8")
    (annotate / "DONE").touch()
    request_annotations(folder, ["a.jpg", "a.png"], project, wait=False)
    assert [made_by(project.traindir / f"a.{end}.json") for end in ("jpg", "png")] == ["a.jpg", "a.png"]


def later(seconds: float, action) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


@pytest.mark.timeout(60)
def test_waiting_ends_with_done_alone(project, monkeypatch):
    """The terminal is no one's here, so that Enter cannot be pressed."""
    started, annotate, predict = time.monotonic(), project.traindir / "annotate", Predictor()
    released = []  # the GPU's memory, once the pre-labels are there
    monkeypatch.setattr(waiting, "release_gpu_memory", lambda: released.extend(predict.asked))
    later(1.0, lambda: (annotate / "DONE").touch())
    go(project, predict=predict, wait=True)
    assert released == [IMAGES]
    assert time.monotonic() - started >= 1
    assert (project.traindir / "02.json").is_file()


@pytest.mark.timeout(60)
def test_a_done_that_does_not_count_is_named(project, caplog):
    predict, done = Predictor(), project.traindir / "annotate" / "DONE"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=predict)
    done.write_text("finished, Anna", encoding="utf-8")
    with pytest.raises(AnnotationsAwaited, match="DONE: does not count; what counts is an empty file"):
        go(project, predict=predict)
    later(1.0, lambda: done.write_bytes(b""))
    with caplog.at_level(logging.INFO):
        go(project, predict=predict, wait=True)
    assert caplog.text.count("DONE: does not count") == 1


@pytest.mark.parametrize(
    ("there", "other"),
    [
        ("03.png", "03.png"),  # of an earlier run
        ("deep/04.png", "deep/04.png"),
        ("backup/03.png", ""),  # a copy that a person made of the folder
        ("05.png", ""),  # is annotated: it is offered for correction
        ("01.png", ""),
    ],
)
def test_images_that_are_not_asked_for_are_named(project, caplog, there, other):
    annotated_image(project.traindir / "05.png")
    (project.traindir / "deep").mkdir()
    shutil.copy(project.traindir / "04.png", project.traindir / "deep" / "04.png")
    copy = project.traindir / "annotate" / there
    copy.parent.mkdir(parents=True)
    shutil.copy(project.traindir / "03.png", copy)
    with caplog.at_level(logging.INFO), pytest.raises(AnnotationsAwaited):
        go(project, predict=None)
    said = "Not asked for: 1 image in that folder, such as {}; what is annotated of them counts once they are chosen"
    assert (said.format(other) in caplog.text) is bool(other)
    assert ("Not asked for" in caplog.text) is bool(other)


@pytest.mark.timeout(60)
def test_nothing_is_awaited_nothing_is_asked(project, caplog):
    predict = Predictor()
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=predict)
    (project.traindir / "annotate" / "DONE").touch()
    go(project, predict=predict, wait=True)
    (project.traindir / "annotate").mkdir()
    (project.traindir / "annotate" / "DONE").touch()  # left over from a stop between the last two steps
    go(project, predict=predict, wait=True)
    assert not (project.traindir / "annotate").exists()
    assert predict.asked == [IMAGES]


TOOL = """
import json, pathlib, sys, time
def save(image, by):
    document = {"shapes": [], "imagePath": image.name, "imageData": None, "by": by}
    image.with_suffix(".json").write_text(json.dumps(document))
images = sorted(pathlib.Path(sys.argv[-1]).rglob("*.png"))
for image in images:
    save(image, "first shape")
    time.sleep(0.1)
time.sleep(float(sys.argv[1]))
save(images[-1], "finished")
"""


def made_by(path) -> str:
    return json.loads(path.read_text(encoding="utf-8"))["by"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seconds", [0, 3], ids=["closed at once", "the last image takes long"])
def test_an_open_tool_is_waited_for(project, tmp_path, caplog, seconds):
    script = tmp_path / "tool.py"
    script.write_text(TOOL, encoding="utf-8")
    with caplog.at_level(logging.INFO):
        go(project, predict=None, wait=True, annotator=shlex.join([sys.executable, str(script), str(seconds)]))
    assert sorted(path.name for path in project.traindir.glob("*.json")) == ["00.json", "01.json", "02.json"]
    assert made_by(project.traindir / "02.json") == "finished"
    assert "stays open" not in caplog.text


@pytest.mark.timeout(60)
def test_a_tool_that_is_left_open_is_waited_for_until_done(project, tmp_path, caplog):
    script, annotate = tmp_path / "tool.py", project.traindir / "annotate"
    script.write_text(TOOL, encoding="utf-8")
    later(4.0, (annotate / "DONE").touch)
    with caplog.at_level(logging.INFO):
        go(project, predict=None, wait=True, annotator=shlex.join([sys.executable, str(script), "10"]))
    assert made_by(project.traindir / "02.json") == "first shape"
    assert "close the annotation tool, or put an empty file there" in caplog.text
    assert "stays open" in caplog.text
    assert not annotate.exists()


@pytest.mark.timeout(60)
def test_the_last_image_may_be_saved_again_before_it_is_taken(project, monkeypatch, caplog):
    """Of a tool that a person has opened and that saves by itself."""
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 2.0)
    annotate = project.traindir / "annotate"

    def draw_on():
        for number in range(5):
            for name in IMAGES if number == 0 else IMAGES[-1:]:
                document = {"shapes": [], "imagePath": name, "imageData": None, "by": f"save {number}"}
                (annotate / name).with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")
            time.sleep(0.6)

    later(1.0, draw_on)
    with caplog.at_level(logging.INFO):
        go(project, predict=None, wait=True)
    assert made_by(project.traindir / "02.json") == "save 4"
    assert "All images are annotated. MaskAL goes on when no file has changed for 2 seconds." in caplog.text


def save(path, by: str) -> None:
    path.write_text(json.dumps({"shapes": [], "imagePath": "", "imageData": None, "by": by}), encoding="utf-8")


class Clock:
    """In place of the module time: sleeping takes no time, and at each something may happen."""

    def __init__(self, happens) -> None:
        self.now, self.happens = time.time(), happens

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.happens(self)


def first_shapes_in_all(project, clock, monkeypatch, *, age, with_done, ahead=0):
    """A start has put the images there, and all of them are annotated so many seconds ago; the clock of the drive is
    `ahead` of the computer's."""
    annotate = project.traindir / "annotate"
    with pytest.raises(AnnotationsAwaited):
        go(project, predict=None)
    for module in (waiting, saving):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(waiting, "_now_of_drive", lambda folder: clock.now + ahead)
    for name in IMAGES:
        path = (annotate / name).with_suffix(".json")
        save(path, "first shape")
        os.utime(path, (clock.now + ahead - age, clock.now + ahead - age))
    if with_done:
        (annotate / "DONE").touch()


@pytest.mark.parametrize("ahead", [0, 60, -60])
@pytest.mark.parametrize(
    ("age", "with_done", "draws_on", "sleeps"),
    [
        pytest.param(3600, False, True, 0, id="an hour ago"),
        pytest.param(10, True, True, 0, id="confirmed"),
        pytest.param(10, False, False, 40, id="just now, the last shape"),
        pytest.param(10, False, True, None, id="just now, the first shape"),
    ],
)
def test_without_waiting_the_last_image_is_not_taken_while_it_is_drawn(
    project, monkeypatch, age, with_done, draws_on, sleeps, ahead
):
    annotate, done = project.traindir / "annotate", 0

    def happens(clock):
        nonlocal done
        done += 1
        if draws_on and done == 3:
            save(annotate / "02.json", "second shape")
            os.utime(annotate / "02.json", (clock.now, clock.now))

    monkeypatch.setattr(waiting, "QUIET_SECONDS", 30.0)
    monkeypatch.setattr(waiting, "ANSWER_POLL_SECONDS", 0.5)
    first_shapes_in_all(project, Clock(happens), monkeypatch, age=age, with_done=with_done, ahead=ahead)
    if sleeps is None:
        with pytest.raises(AnnotationsAwaited, match=r"02\.json: was saved at this moment; start again"):
            go(project, predict=None)
        assert made_by(annotate / "02.json") == "second shape"
    else:
        go(project, predict=None)
        assert done == sleeps
        assert made_by(project.traindir / "02.json") == "first shape"


@pytest.mark.parametrize(
    ("age", "with_done", "by"),
    [
        pytest.param(3600, False, "first shape", id="an hour ago"),
        pytest.param(10, True, "first shape", id="confirmed"),
        pytest.param(10, False, "second shape", id="just now"),
        pytest.param(-10, False, "second shape", id="just now, by a clock that was put back"),
    ],
)
def test_a_start_does_not_take_the_last_image_while_it_is_drawn(project, monkeypatch, age, with_done, by):
    annotate, done = project.traindir / "annotate", []

    def happens(clock):
        done.append(clock.now)
        if len(done) == 3:
            save(annotate / "02.json", "second shape")

    monkeypatch.setattr(waiting, "QUIET_SECONDS", 30.0)
    first_shapes_in_all(project, Clock(happens), monkeypatch, age=age, with_done=with_done)
    go(project, predict=None, wait=True)
    assert made_by(project.traindir / "02.json") == by
    assert not annotate.exists()


def test_the_clock_of_a_drive_is_that_of_what_is_saved_there(tmp_path):
    (tmp_path / "a.json").touch()
    found = waiting._now_of_drive(tmp_path)
    assert 0 <= found - (tmp_path / "a.json").stat().st_mtime < 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert abs(waiting._now_of_drive(tmp_path / "gone") - time.time()) < 5


@pytest.mark.timeout(60)
def test_a_tool_that_is_closed_too_early_is_logged_and_waiting_goes_on(project, tmp_path, caplog):
    script, annotate = tmp_path / "tool.py", project.traindir / "annotate"
    script.write_text("", encoding="utf-8")

    def annotate_by_hand():
        for name in IMAGES:
            document = {"shapes": [], "imagePath": name, "imageData": None}
            (annotate / name).with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")

    later(2.0, annotate_by_hand)
    with caplog.at_level(logging.INFO):
        go(project, predict=None, wait=True, annotator=shlex.join([sys.executable, str(script)]))
    assert "The annotation tool was closed." in caplog.text
    assert "To open it again:" in caplog.text
    assert (project.traindir / "02.json").is_file()
