"""What is saved in the annotate folder after an annotation was collected, or while it is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from active_learning.annotating import annotate_folder, waiting
from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotating.request import request_annotations
from active_learning.annotations import Annotation
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.errors import AnnotationsAwaited, MaskALError
from active_learning.settings import Settings
from active_learning.system.own_files import OwnFiles

CLASSES = ["healthy", "damaged"]
IMAGES = ["a.png", "sub/b.png"]
SETTINGS = Settings(classes=CLASSES)


@pytest.fixture
def folder(train, add_image, annotate, monkeypatch):
    """Both images are annotated, and that was collected."""
    for name in ("POLL_SECONDS", "ANSWER_POLL_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.02)
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.2)
    for name in IMAGES:
        add_image(name)
        annotate(name.replace(".png", ".json"))
    return AnnotateFolder(AnnotationCache(train, CLASSES))


def texts(train):
    """By file: the label of its object, or its first characters."""
    files = {path.relative_to(train).as_posix(): path.read_text() for path in train.rglob("*.json*")}
    return {name: "damaged" if "damaged" in text else "healthy" if "healthy" in text else text[:5]
            for name, text in files.items()}  # fmt: skip


LATE = {
    "beside the copy": ("annotate/a.json", None, ["damaged"], {"a.json": "damaged", "a.json.orig": "healthy"}),
    "of a sub-folder": (
        "annotate/sub/b.json", None, ["damaged"], {"sub/b.json": "damaged", "sub/b.json.orig": "healthy"},
    ),
    "where a tool puts all files": (
        "annotate/labels/b.json", "../sub/b.png", ["damaged"],
        {"sub/b.json": "damaged", "sub/b.json.orig": "healthy"},
    ),
    "named after the whole image": (
        "annotate/a.png.json", None, ["damaged"], {"a.png.json": "damaged", "a.json.orig": "healthy"},
    ),
    "no object is left": ("annotate/a.json", None, [], {"a.json": '{"sha', "a.json.orig": "healthy"}),
    "the same again": ("annotate/a.json", None, ["healthy"], {"a.json": "healthy"}),
}  # fmt: skip


@pytest.mark.parametrize(("file", "image", "labels", "after"), LATE.values(), ids=LATE)
def test_a_correction_is_used_and_the_former_kept(train, folder, annotate, caplog, file, image, labels, after):
    annotate(file, labels, *([image] if image else []))
    with caplog.at_level(logging.INFO):
        request_annotations(folder, IMAGES, SETTINGS, wait=False)
    assert after.items() <= texts(train).items()
    assert not (train / "annotate").exists()
    assert ("was annotated anew in" in caplog.text) == (len(after) > 1)


def test_a_correction_that_is_drawn_on_a_turned_copy_is_not_used(train, folder, annotate, caplog):
    annotate("annotate/a.json", ["damaged"])
    with Image.open(train / "a.png") as image:
        image.rotate(90, expand=True).save(train / "annotate" / "a.png")
    request_annotations(folder, IMAGES, SETTINGS, wait=False)
    assert "make both the same image again" in caplog.text
    assert texts(train)["a.json"] == "healthy"


def test_a_correction_is_left_to_its_person_while_others_are_awaited(train, folder, add_image, annotate):
    add_image("c.png")
    annotate("annotate/a.json", ["damaged"])
    with pytest.raises(AnnotationsAwaited):
        request_annotations(folder, [*IMAGES, "c.png"], SETTINGS, wait=False)
    assert {"a.json": "healthy", "annotate/a.json": "damaged"}.items() <= texts(train).items()


def older(train, annotate):
    path = annotate("annotate/a.json", ["damaged"])
    later = path.stat().st_mtime_ns + 10**9
    os.utime(train / "a.json", ns=(later, later))


def export(train, annotate):
    images, objects = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "image_id": 1, "category_id": 1}]
    text = json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "damaged"}]})
    annotate("annotate/result.json").write_text(text, encoding="utf-8")


def pre_label(train, annotate):
    path = annotate("annotate/a.json", ["damaged"])
    AnnotateFolder(AnnotationCache(train, CLASSES)).own_files.add(path, "a.png")


UNUSED = {
    "older than what a person has corrected beside the image": (older, "is older than"),
    "half saved": (lambda train, annotate: annotate("annotate/a.json").write_text('{"shapes": ['), "half-written"),
    "an export": (export, "turn it into a file for each image with copies of its images there, too, by: python"),
    "an unknown class": (lambda train, annotate: annotate("annotate/a.json", ["helthy"]), "did you mean 'healthy'"),
    "a pre-label that nobody has touched": (pre_label, ""),
    "of an image that is none of the run's": (lambda train, annotate: annotate("annotate/z.json", ["damaged"]), ""),
}


@pytest.mark.parametrize(("late", "warning"), UNUSED.values(), ids=UNUSED)
def test_what_is_no_correction_stays_and_is_named(train, folder, annotate, caplog, late, warning):
    late(train, annotate)
    before = texts(train)
    with caplog.at_level(logging.WARNING):
        request_annotations(folder, IMAGES, SETTINGS, wait=False)
    assert warning in caplog.text
    assert bool(caplog.text) == bool(warning)
    assert {name: text for name, text in texts(train).items() if name != "annotate/a.json"} == {
        name: text for name, text in before.items() if name != "annotate/a.json"
    }


@pytest.mark.parametrize("save", ["whole", "half"])
def test_a_save_between_the_search_and_the_move_is_read_again(train, folder, annotate, monkeypatch, save):
    """As by the tool that saves each change at once."""
    (train / "a.json").unlink()
    annotate("annotate/a.json")
    move, saves = annotate_folder.move_beside, []

    def save_before(source, target, **options):
        if not saves:
            saves.append(annotate("annotate/a.json", ["damaged"]))
            if save == "half":
                whole = source.read_bytes()
                source.write_bytes(whole[:20])
                threading.Timer(0.3, source.write_bytes, [whole]).start()
        return move(source, target, **options)

    monkeypatch.setattr(annotate_folder, "move_beside", save_before)
    request_annotations(folder, IMAGES, SETTINGS, wait=True)
    assert texts(train) == {"a.json": "damaged", "sub/b.json": "healthy"}


def test_without_waiting_a_half_save_that_falls_into_collecting_is_awaited(train, folder, annotate, monkeypatch):
    (train / "a.json").unlink()
    annotate("annotate/a.json")
    move = annotate_folder.move_beside

    def save_before(source, target, **options):
        source.write_text('{"shapes": [')
        return move(source, target, **options)

    monkeypatch.setattr(annotate_folder, "move_beside", save_before)
    with pytest.raises(AnnotationsAwaited, match=r"a\.png: .*half-written"):
        request_annotations(folder, IMAGES, SETTINGS, wait=False)
    assert texts(train)["annotate/a.json"] == '{"sha'


def disconnect(train):
    train.rename(train.with_name("away"))


def empty_mount_point(train):
    disconnect(train)
    train.mkdir()


def connect(train):
    if train.exists():
        shutil.rmtree(train)
    train.with_name("away").rename(train)


def start(folder, *, pre_labelled):
    if pre_labelled:
        folder.own_files.add(folder.path / "a.json", "a.png")
    errors = []

    def wait():
        try:
            request_annotations(folder, IMAGES, SETTINGS, wait=True)
        except (MaskALError, OSError) as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, errors


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("leave", [disconnect, empty_mount_point])
@pytest.mark.parametrize("moment", ["missing", "last image being finished", "confirmation"])
def test_a_drive_that_goes_is_waited_for(train, folder, add_image, annotate, caplog, monkeypatch, leave, moment):
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 60.0)  # the drive goes within it
    (train / "a.json").unlink()
    folder.fill(IMAGES)
    if moment == "confirmation":
        annotate("annotate/a.json")
    caplog.set_level(logging.INFO)
    thread, errors = start(folder, pre_labelled=moment == "confirmation")
    until(lambda: ("When all are corrected" if moment == "confirmation" else "0 / 1 annotated") in caplog.text)
    if moment == "last image being finished":
        annotate("annotate/a.json")
        until(lambda: "All images are annotated" in caplog.text)
    before = len(caplog.records)
    leave(train)
    until(lambda: "Waiting until it is back; is its drive connected?" in caplog.text)
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.1)
    time.sleep(0.5)
    assert thread.is_alive()
    assert not errors
    new = [record.getMessage() for record in caplog.records[before:]]
    assert not [line for line in new if "annotated" in line]
    connect(train)
    until(lambda: "is there again" in caplog.text)
    if moment == "missing":
        annotate("annotate/a.json")
    (train / "annotate" / "DONE").touch()
    thread.join(20)
    assert not thread.is_alive()
    assert not errors
    assert texts(train) == {"a.json": "healthy", "sub/b.json": "healthy"}


def test_without_waiting_a_drive_that_is_gone_is_named(train, folder, monkeypatch):
    (train / "a.json").unlink()
    fill = AnnotateFolder.fill
    monkeypatch.setattr(AnnotateFolder, "fill", lambda *arguments: [fill(*arguments), disconnect(train)])
    with pytest.raises(MaskALError, match=r"the folder is not there; is its drive connected\? Nothing is lost"):
        request_annotations(folder, IMAGES, SETTINGS, wait=False)


def test_an_image_that_a_person_takes_away_is_not_waited_for(train, folder, caplog):
    (train / "a.json").unlink()
    caplog.set_level(logging.INFO)
    thread, errors = start(folder, pre_labelled=False)
    until(lambda: "0 / 1 annotated" in caplog.text)
    (train / "a.png").unlink()
    (train / "annotate" / "a.png").unlink()
    thread.join(20)
    assert not thread.is_alive()
    assert not errors


def test_a_pre_label_is_noted_as_maskals_before_it_is_there(train, add_image, monkeypatch):
    """Else a kill would leave a raw prediction that counts as a person's annotation."""
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    noted, add = [], OwnFiles.add

    def note(self: OwnFiles, path: Path, *arguments: object) -> None:
        noted.append(not path.exists())
        add(self, path, *arguments)

    monkeypatch.setattr(OwnFiles, "add", note)
    predict = lambda _, names: (Annotation(name, 30, 40) for name in names)  # noqa: E731
    with pytest.raises(AnnotationsAwaited):
        request_annotations(folder, ["a.png"], SETTINGS, wait=False, predict=predict)
    assert noted == [True] and folder.own_files.is_untouched(train / "annotate" / "a.json")
