"""The annotate folder: what is copied, what counts, and that nothing of a person's is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from active_learning.annotating import annotate_folder
from active_learning.annotating.annotate_folder import AnnotateFolder
from active_learning.annotations import Bitmap, read_annotation
from active_learning.annotations.cvat_masks import encode_mask_file
from active_learning.dataset import exported_images
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import find_images
from active_learning.errors import MaskALError
from active_learning.system import disk_space
from active_learning.system.disk_space import REMEDIES
from tests.contents import contents
from tests.work import calls_of

CLASSES = ["healthy", "damaged"]


@pytest.fixture
def folder(train):
    return AnnotateFolder(AnnotationCache(train, CLASSES))


def test_fill_copies_what_has_no_annotation(train, folder, add_image, annotate):
    for name in ("a.png", "sub/b.png", "sub/ä c.png", "d.png"):
        add_image(name)
    annotate("a.json")
    annotate("d.json", ["helthy"])
    folder.fill(["a.png", "sub/b.png", "sub/ä c.png", "d.png"])
    copies = contents(train / "annotate")
    assert sorted(copies) == ["d.png", "sub/b.png", "sub/ä c.png"]
    assert copies["sub/b.png"] == (train / "sub/b.png").read_bytes()


def test_nothing_to_annotate_makes_no_folder(train, folder, add_image, annotate):
    add_image("a.png")
    annotate("a.json", [])
    folder.fill(["a.png"])
    assert folder.progress().complete
    folder.wait(report=lambda _: pytest.fail("nothing is to be reported"))
    assert folder.collect() == []
    assert not (train / "annotate").exists()


def test_progress_tells_annotated_missing_and_faulty(train, folder, add_image, annotate):
    names = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"]
    for name in names:
        add_image(name)
    folder.fill(names)
    annotate("annotate/a.json")
    annotate("annotate/b.png.json", [])
    (train / "annotate/c.json").write_text('{"shapes": [', encoding="utf-8")
    annotate("annotate/d.json", ["helthy"])
    annotate("f.json")
    progress = folder.progress()
    assert progress.annotated == ("a.png", "b.png", "f.png")
    assert progress.missing == ("e.png",)
    assert sorted(progress.faulty) == ["c.png", "d.png"]
    assert "half-written" in progress.faulty["c.png"]
    assert "d.json: shapes[0]: label 'helthy' is not in classes (did you mean 'healthy'?)" in progress.faulty["d.png"]
    assert not progress.complete


def test_unknown_labels_count_when_they_are_skipped(train, add_image, annotate):
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES, "skip"))
    folder.fill(["a.png"])
    annotate("annotate/a.json", ["helthy"])
    assert folder.progress().complete


def test_collect_moves_annotations_byte_for_byte(train, folder, add_image, annotate):
    names = ["a.png", "sub/b.png", "sub/deep/c.png"]
    for name in names:
        add_image(name)
    folder.fill(names)
    contents = [
        annotate("annotate/a.json", camera="left").read_bytes(),
        annotate("annotate/sub/b.png.json", []).read_bytes(),
        annotate("annotate/labels/c.json", image="../sub/deep/c.png").read_bytes(),
    ]
    assert folder.collect() == names
    assert [(train / place).read_bytes() for place in ("a.json", "sub/b.png.json", "sub/deep/c.json")] == contents
    assert not (train / "annotate").exists()


def test_only_annotated_images_are_collected(train, folder, add_image, annotate):
    for name in ("a.png", "b.png"):
        add_image(name)
    folder.fill(["a.png", "b.png"])
    annotate("annotate/a.json")
    assert folder.collect() == ["a.png"]
    assert sorted(contents(train / "annotate")) == ["b.png"]


def test_images_of_one_stem_keep_annotations_apart(train, folder, add_image, annotate):
    for name in ("a.png", "a.bmp"):
        add_image(name)
    annotate("a.json", image="a.bmp")
    folder.fill(["a.png", "a.bmp"])
    annotate("annotate/a.json", ["damaged"], image="a.png")
    assert folder.collect() == ["a.png"]
    assert b"damaged" in (train / "a.png.json").read_bytes()
    assert b"healthy" in (train / "a.json").read_bytes()


def test_images_must_be_there(folder, add_image):
    add_image("a.png")
    with pytest.raises(MaskALError, match=r"b\.png: there is no such image"):
        folder.fill(["a.png", "b.png"])


@pytest.mark.parametrize("name", ["../a.png", "/elsewhere/a.png"])
def test_names_must_stay_in_the_folder(folder, name):
    with pytest.raises(MaskALError, match="leads out"):
        folder.fill([name])


def test_copies_that_the_disk_cannot_hold_are_not_begun(train, folder, add_image, monkeypatch):
    add_image("a.png")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10})())
    with pytest.raises(
        MaskALError,
        match=r"annotate: .* are needed for copies of the images to annotate, its disk has .* or annotate them beside",
    ):
        folder.fill(["a.png"])
    assert not (train / "annotate").exists()


def test_a_file_in_the_place_of_the_folder(train, folder, add_image):
    add_image("a.png")
    (train / "annotate").write_text("mine", encoding="utf-8")
    with pytest.raises(MaskALError, match="cannot be copied"):
        folder.fill(["a.png"])
    assert (train / "annotate").read_text() == "mine"


MINE = b"made by a person"
OTHER = json.dumps({"shapes": [], "imagePath": "a.png", "imageHeight": 30, "imageWidth": 40}).encode()

SITUATIONS = [
    pytest.param({"annotate/notes.txt": MINE}, {}, {"annotate/notes.txt": MINE}, id="notes in the folder"),
    pytest.param({"annotate/old.json": OTHER}, {}, {"annotate/old.json": OTHER}, id="annotation of nothing awaited"),
    pytest.param({"annotate/a.png": MINE}, {}, {"annotate/a.png.orig": MINE}, id="another picture under the name"),
    pytest.param({"a.json": MINE}, {}, {"a.json.orig": MINE}, id="a faulty annotation beside the image"),
    pytest.param({}, {"a.json": OTHER}, {"a.json.orig": OTHER}, id="a good annotation beside the image"),
    pytest.param({"a.json": MINE, "a.json.orig": OTHER}, {}, {"a.json.orig": OTHER, "a.json.orig2": MINE}, id="again"),
    pytest.param({"a.png.json": MINE}, {}, {"a.png.json.orig": MINE}, id="a faulty one that would come first"),
    pytest.param({}, {"annotate/a.png": MINE}, {"annotate/a.png": MINE}, id="the copy was drawn on"),
    pytest.param({}, {"annotate/sub/a.json": MINE}, {"annotate/sub/a.json": MINE}, id="a second, faulty annotation"),
    pytest.param({"annotate/b.png": MINE}, {}, {"annotate/b.png": MINE}, id="a picture of a person's own"),
    pytest.param({"a.xml": MINE}, {}, {"a.xml.orig": MINE}, id="an annotation of another tool"),
]


@pytest.mark.parametrize(("before", "meanwhile", "after"), SITUATIONS)
def test_nothing_of_a_person_is_lost(train, add_image, annotate, before, meanwhile, after):
    image = add_image("a.png").read_bytes()

    def put(contents):
        for name, content in contents.items():
            (train / name).parent.mkdir(parents=True, exist_ok=True)
            (train / name).write_bytes(content)

    put(before)
    for _ in range(2):  # the second is a resumed run
        folder = AnnotateFolder(AnnotationCache(train, CLASSES))
        folder.fill(["a.png"])
        with pytest.raises(KeyboardInterrupt):
            folder.wait(report=interrupt, poll_seconds=0)
    annotation = annotate("annotate/a.json", ["damaged"]).read_bytes()
    put(meanwhile)
    assert folder.collect() == ["a.png"]
    assert contents(train) == {"a.png": image, "a.json": annotation, **after}


def interrupt(_: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("seed", range(8))
def test_no_content_of_any_file_disappears(train, add_image, annotate, seed):
    """A random history of runs, edits and interruptions: whatever was written once is still somewhere."""
    rng = random.Random(seed)
    names = ["a.png", "a.bmp", "sub/a.png", "sub/b.png"]
    for name in names:
        add_image(name)
    digests = {hashlib.sha256(content).digest() for content in contents(train).values()}
    for _ in range(25):
        folder = AnnotateFolder(AnnotationCache(train, CLASSES))
        folder.fill(rng.sample(names, rng.randint(1, len(names))))
        for step in range(rng.randint(0, 3)):
            parent = rng.choice(["", "sub/", "annotate/", "annotate/sub/", "annotate/labels/"])
            name = rng.choice(["a.json", "a.png.json", "b.json", "notes.txt", "a.json.orig"])
            if not (train / parent / name).exists():  # a person does not overwrite here, so nothing may vanish
                image = rng.choice([None, *names, "../sub/a.png"])
                label = rng.choice(["healthy", "damaged", "unknown"])
                path = annotate(parent + name, [label], image, step=f"{rng.random()}{step}")
                digests.add(hashlib.sha256(path.read_bytes()).digest())
        folder.progress()
        if rng.random() < 0.7:
            folder.collect()
        assert digests <= {hashlib.sha256(content).digest() for content in contents(train).values()}
        for name in names:
            assert (train / name).is_file()


def test_a_collect_that_was_interrupted_is_finished_later(train, folder, add_image, annotate, monkeypatch):
    for name in ("a.png", "b.png"):
        add_image(name)
    folder.fill(["a.png", "b.png"])
    annotate("annotate/a.json")
    annotate("annotate/b.json")
    move, moved = annotate_folder.move_beside, []

    def move_one(source, target, **options):
        if moved:
            raise KeyboardInterrupt
        moved.append(source)
        return move(source, target, **options)

    monkeypatch.setattr(annotate_folder, "move_beside", move_one)
    with pytest.raises(KeyboardInterrupt):
        folder.collect()
    monkeypatch.setattr(annotate_folder, "move_beside", move)
    again = AnnotateFolder(AnnotationCache(train, CLASSES))
    again.fill(["a.png", "b.png"])
    assert again.collect() == ["b.png"]
    assert sorted(contents(train)) == ["a.json", "a.png", "b.json", "b.png"]


def start_waiting(folder, reported):
    used = {"searches": 0}

    def watch():
        used["searches"] += 1

    def wait():
        used["calls"] = calls_of(folder.wait, poll_seconds=0.05, report=reported.append, watch=watch)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, used


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_waiting_names_faults_and_counts(train, folder, add_image, annotate):
    for name in ("a.png", "sub/b.png", "c.png"):
        add_image(name)
    folder.fill(["a.png", "sub/b.png", "c.png"])
    reported: list[str] = []
    thread, _ = start_waiting(folder, reported)
    until(lambda: "0 / 3 annotated" in reported)
    (train / "annotate/a.json").write_text("{", encoding="utf-8")
    until(lambda: any("a.json: line 1" in line for line in reported))
    annotate("annotate/a.json", ["helthy"])
    until(lambda: any("a.json: shapes[0]: label 'helthy'" in line for line in reported))
    annotate("annotate/a.json")
    until(lambda: "1 / 3 annotated" in reported)
    annotate("c.json")
    annotate("annotate/sub/b.json", [])
    thread.join(20)
    assert not thread.is_alive()
    assert reported[-1] == "3 / 3 annotated"
    assert len([line for line in reported if "a.json" in line]) == 2
    assert len(reported) == len(set(reported))
    assert folder.collect() == ["a.png", "sub/b.png"]


def test_a_half_written_file_is_not_complained_about(folder, add_image, annotate, train):
    add_image("a.png")
    folder.fill(["a.png"])
    reported: list[str] = []
    states = iter([lambda: (train / "annotate/a.json").write_text("{"), lambda: annotate("annotate/a.json")])

    class Clock:
        @staticmethod
        def sleep(_: float) -> None:
            next(states)()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("active_learning.annotating.annotate_folder.time", Clock)
        folder.wait(poll_seconds=1, report=reported.append)
    assert reported == ["0 / 1 annotated", "1 / 1 annotated"]


def test_a_file_that_a_tool_saves_right_after_it_was_looked_at(train, add_image, annotate, monkeypatch):
    """The tool empties the file first, as most do."""
    for method in ("fault", "look", "read"):
        answer = getattr(AnnotationCache, method)

        def then_empty(cache, path, image, answer=answer):
            found = answer(cache, path, image)
            path.write_bytes(b"")
            return found

        monkeypatch.setattr(AnnotationCache, method, then_empty)
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.png"])
    file = annotate("annotate/a.json")
    whole = file.read_bytes()
    assert folder.collect() == []
    monkeypatch.undo()
    file.write_bytes(whole)
    folder.await_rest()
    assert folder.awaited == ("a.png",)
    assert folder.collect() == ["a.png"]
    assert (train / "a.json").read_bytes() == whole


@pytest.mark.parametrize("what", ["json removed", "json emptied", "xml removed", "xml emptied", "mask removed"])
@pytest.mark.parametrize("correction", [False, True])
def test_what_is_saved_while_it_is_collected_stays(
    train, add_image, annotate, annotate_in_cvat, monkeypatch, what, correction
):
    """After the search, at the last moment before it is moved; another image's is collected."""
    kind, act = what.split()
    for name in ("a.png", "b.png"):
        add_image(name)
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    if correction:
        annotate("a.json", ["damaged"])
        annotate("b.json", ["damaged"])
    folder.fill(["a.png", "b.png"])
    file = annotate("annotate/a.json") if kind == "json" else annotate_in_cvat("annotate/a.xml", "a.png")
    annotate("annotate/b.json")
    if kind == "mask":
        (file,) = (train / "annotate/Masks").iterdir()
    whole, move = file.read_bytes(), AnnotateFolder._move_beside

    def save_before(self, files):
        file.unlink() if act == "removed" else file.write_bytes(b"")
        return move(self, files)

    monkeypatch.setattr(AnnotateFolder, "_move_beside", save_before)
    collect = (lambda: list(folder.take_corrections().files)) if correction else folder.collect
    assert "b.png" in collect()
    monkeypatch.undo()
    file.parent.mkdir(parents=True, exist_ok=True)  # it may have been left empty
    file.write_bytes(whole)
    folder.await_rest()
    assert collect() == ["a.png"]


def test_a_search_that_fails_is_made_again(train, folder, add_image, annotate, monkeypatch):
    add_image("a.png")
    folder.fill(["a.png"])
    search, reported, calls = annotate_folder.search_annotate_folder, [], []

    def fail_at_first(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 4:
            annotate("annotate/a.json")
        if len(calls) < 4:
            raise OSError(errno.EIO, "Input/output error") if len(calls) < 3 else MaskALError("it cannot be read")
        return search(*arguments, **options)

    monkeypatch.setattr(annotate_folder, "search_annotate_folder", fail_at_first)
    folder.wait(poll_seconds=0.01, report=reported.append)
    assert [line for line in reported if "looks again" in line] == [
        "[Errno 5] Input/output error. MaskAL goes on waiting, and looks again",
        "it cannot be read. MaskAL goes on waiting, and looks again",
    ]
    assert folder.collect() == ["a.png"]


def test_a_search_while_waiting_reads_nothing_again(train, folder, add_image, annotate, monkeypatch):
    monkeypatch.setattr(exported_images, "parse_document", lambda *_: pytest.fail("each file is read once"))
    names = [f"{number}.png" for number in range(100)]
    for name in names:
        add_image(name)
    for name in names[1:]:
        annotate(f"annotate/{name}.json")
    folder.fill(names)
    folder.progress()
    reported: list[str] = []
    thread, used = start_waiting(folder, reported)
    until(lambda: used["searches"] > 4)
    annotate("annotate/0.json")
    thread.join(20)
    assert reported[-1] == "100 / 100 annotated"
    assert used["calls"] < 1000 * len(names) * used["searches"]


def test_a_terminal_gets_one_live_line(folder, add_image, annotate, train, monkeypatch, capsys):
    for name in ("a.png", "b.png"):
        add_image(name)
    folder.fill(["a.png", "b.png"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    annotate("annotate/a.json")
    (train / "annotate/b.json").write_text("{", encoding="utf-8")
    reported: list[str] = []
    thread, _ = start_waiting(folder, reported)
    until(lambda: len(reported) == 1)
    annotate("annotate/b.json")
    thread.join(20)
    shown = capsys.readouterr().out
    assert shown.startswith("\r1 / 2 annotated")
    assert shown.endswith("\r2 / 2 annotated\n")
    assert shown.count("\n") == 1
    assert "b.json: line 1" in reported[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image.rotate(90, expand=True), id="turned"),
        pytest.param(lambda image: image.crop((0, 0, 10, 10)), id="cropped"),
    ],
)
def test_what_is_drawn_on_a_copy_of_another_size_is_not_taken(train, folder, add_image, annotate, change):
    add_image("a.png")
    folder.fill(["a.png"])
    copy = train / "annotate/a.png"
    with Image.open(copy) as image:
        change(image).save(copy)
    annotate("annotate/a.json")
    (fault,) = folder.progress().faulty.values()
    assert f"{copy}: has " in fault and "make both the same image again" in fault
    assert folder.collect() == []
    folder.fill(["a.png"])  # a new start
    assert list(folder.progress().faulty) == ["a.png"] and not list(copy.parent.glob("*.orig"))
    shutil.copy(train / "a.png", copy)
    assert folder.collect() == ["a.png"]


def test_a_copy_that_got_another_name_is_named_and_not_put_there_again(train, folder, add_image, annotate):
    add_image("a.png")
    folder.fill(["a.png"])
    copy, renamed = train / "annotate/a.png", train / "annotate/scene-5.png"
    copy.rename(renamed)
    annotate("annotate/scene-5.json", image="scene-5.png")
    assert f"{renamed}: is a.png under another name" in folder.progress().faulty["a.png"]
    folder.fill(["a.png"])  # a new start
    assert not copy.exists() and folder.collect() == []
    for path in (renamed, renamed.with_suffix(".json")):
        path.rename(copy.with_suffix(path.suffix))
    assert folder.collect() == ["a.png"]


@pytest.mark.parametrize("remedy", ["replace", "remove"])
def test_a_damaged_image_is_waited_for_until_it_is_replaced_or_removed(train, folder, add_image, annotate, remedy):
    for name in ("a.png", "b.png"):
        add_image(name)
    annotate("b.json")
    (train / "a.png").write_bytes(b"damaged")
    annotate("a.json")
    folder.fill(["a.png", "b.png"])
    reported: list[str] = []
    thread, _ = start_waiting(folder, reported)
    until(lambda: any("a.png: is no image or is damaged; replace or remove it" in line for line in reported))
    if remedy == "replace":
        add_image("a.png")
    else:
        (train / "a.png").unlink()
    thread.join(20)
    assert not thread.is_alive()
    assert folder.collect() == []
    assert folder.progress().annotated == (("a.png", "b.png") if remedy == "replace" else ("b.png",))


def test_an_annotation_taken_away_is_waited_for_again(folder, add_image, annotate):
    for name in ("a.png", "b.png"):
        add_image(name)
    folder.fill(["a.png", "b.png"])
    first = annotate("annotate/a.json")
    reported: list[str] = []
    thread, _ = start_waiting(folder, reported)
    until(lambda: "1 / 2 annotated" in reported)
    first.unlink()
    annotate("annotate/b.json")
    time.sleep(0.3)
    assert thread.is_alive()
    annotate("annotate/a.json")
    thread.join(20)
    assert not thread.is_alive()


def pre_label(train, folder, image):
    path = (train / "annotate" / image).with_suffix(".json")
    path.write_text(json.dumps({"shapes": [], "imagePath": image, "imageData": None}), encoding="utf-8")
    folder.own_files.add(path, image)
    return path


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("place", "moved"), [("annotate/export/a.json", ["a.png"]), ("a.json", [])])
def test_a_persons_file_elsewhere_wins_over_an_untouched_pre_label(train, add_image, annotate, place, moved, restarted):
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.png"])
    pre_label(train, folder, "a.png")
    mine = annotate(place, image="../a.png").read_bytes()
    if restarted:
        folder = AnnotateFolder(AnnotationCache(train, CLASSES))
        folder.fill(["a.png"])
    assert folder.collect() == moved
    assert contents(train) == {"a.png": (train / "a.png").read_bytes(), "a.json": mine}


@pytest.mark.parametrize("place", ["a.xml", "export/annotations/a.xml", "../a.xml"])
def test_an_export_of_an_image_that_nobody_opened_gives_way(train, folder, add_image, annotate, place):
    add_image("a.png")
    folder.fill(["a.png"])
    annotate("annotate/a.json", ["healthy"], image="a.png")
    empty = train / "annotate" / place
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.write_text("<annotation><filename>a.png</filename></annotation>", encoding="utf-8")
    assert folder.progress().complete
    assert folder.collect() == ["a.png"]
    assert len(read_annotation(train / "a.json", image="a.png", size=(30, 40)).instances) == 1


def test_a_faulty_file_of_a_person_is_named_although_the_pre_label_is_good(train, add_image, annotate):
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.png"])
    pre_label(train, folder, "a.png")
    annotate("annotate/export/a.json", ["helthy"], image="../a.png")
    assert "did you mean 'healthy'" in folder.progress().faulty["a.png"]


def test_an_untouched_pre_label_counts_and_moves(train, add_image):
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.png"])
    assert folder.awaited == ("a.png",)
    content = pre_label(train, folder, "a.png").read_bytes()
    folder.confirmation.file.touch()
    assert folder.progress().complete
    assert folder.collect() == ["a.png"]
    assert (train / "a.json").read_bytes() == content
    assert not (train / "annotate").exists()


def test_an_annotation_of_a_converted_tiff_image_finds_its_image(train, add_image, tmp_path):
    add_image("a.tif")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.tif"])
    mine = train / "annotate" / "project" / "ds" / "ann" / "a.tif.png.json"
    mine.parent.mkdir(parents=True)
    mine.write_text('{"size": {"height": 30, "width": 40}, "tags": [], "objects": []}', encoding="utf-8")
    assert folder.progress().complete
    folder.collect()
    assert (train / "a.tif.json").is_file()
    assert AnnotateFolder(AnnotationCache(train, CLASSES))._progress(["a.tif"]).complete


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("step", ["copy_beside", "move_beside"])
def test_a_fault_of_the_system_has_its_remedy(train, folder, add_image, annotate, monkeypatch, step, number):
    def fail(*_, **options):
        raise OSError(number, os.strerror(number), str(train / "a.png"))

    words = {"copy_beside": "the image cannot be copied there", "move_beside": "the annotations cannot be moved beside"}
    add_image("a.png")
    if step == "move_beside":
        folder.fill(["a.png"])
        annotate("annotate/a.json")
    monkeypatch.setattr(annotate_folder, step, fail)
    with pytest.raises(MaskALError, match=words[step]) as caught:
        folder.fill(["a.png"]) if step == "copy_beside" else folder.collect()
    assert f"{train / 'a.png'}: {os.strerror(number)}; {REMEDIES[number]}" in str(caught.value)


def test_copies_that_are_gone_are_reported_once(train, folder, add_image, annotate):
    """A person renamed the annotate folder, or its drive is gone."""
    add_image("a.png")
    folder.fill(["a.png"])
    reported: list[str] = []
    away, here = train / "annotate_anna", train / "annotate"
    steps = [lambda: here.rename(away), lambda: None, lambda: away.rename(here), lambda: here.rename(away)]
    steps += [lambda: away.rename(here), lambda: annotate("annotate/a.json")]
    states = iter(steps)
    folder.wait(poll_seconds=0, report=reported.append, watch=lambda: next(states)())
    said = f"{here}: none of the images to annotate is there any more. Put the folder back under that name"
    assert len([line for line in reported if line.startswith(said)]) == 2


def test_waiting_watches_the_tool(train, add_image, annotate):
    add_image("a.png")
    folder = AnnotateFolder(AnnotationCache(train, CLASSES))
    folder.fill(["a.png"])
    watched = []

    def watch():
        watched.append(1)
        if len(watched) == 3:
            annotate("annotate/a.json")

    folder.wait(poll_seconds=0.01, report=lambda _: None, watch=watch)
    assert len(watched) == 3


CVAT_PLACES = [
    pytest.param("a.xml", "a.png", "a.png", "a.xml", id="beside"),
    pytest.param("sub/b.xml", "sub/b.png", "sub/b.png", "sub/b.xml", id="sub-folder"),
    pytest.param("default/sub/b.xml", "sub/b.png", "sub/b.png", "sub/b.xml", id="export"),
    pytest.param("default/item_000000007.xml", "a.png", "a.png", "a.xml", id="by number"),
    pytest.param("a.png.xml", "a.png", "a.png", "a.png.xml", id="image name"),
]


@pytest.mark.parametrize(("place", "named", "image", "target"), CVAT_PLACES)
def test_masks_of_cvat_move_with_their_annotation(
    train, folder, add_image, annotate_in_cvat, place, named, image, target
):
    add_image(image)
    folder.fill([image])
    content = annotate_in_cvat(f"annotate/{place}", named).read_bytes()
    before = read_annotation(train / "annotate" / place, image=image, size=(30, 40))
    assert folder.collect() == [image]
    assert (train / target).read_bytes() == content
    after = read_annotation(train / target, image=image, size=(30, 40), within=train)
    assert after.warnings == before.warnings == ()
    assert [one.bitmap.mask.sum() for one in after.instances] == [one.bitmap.mask.sum() for one in before.instances]
    assert not (train / "annotate").exists()
    assert find_images(train) == [image]


def test_masks_that_stand_there_are_kept(train, folder, add_image, annotate_in_cvat):
    add_image("a.png")
    (train / "Masks").mkdir()
    (train / "Masks/a_mask_0.png").write_bytes(b"a person's")
    folder.fill(["a.png"])
    annotate_in_cvat("annotate/a.xml", "a.png")
    assert folder.collect() == ["a.png"]
    assert (train / "Masks/a_mask_0.png.orig").read_bytes() == b"a person's"
    assert read_annotation(train / "a.xml", image="a.png", size=(30, 40), within=train).warnings == ()


def cvat_of(train, place, image, corner, mask="a_mask_0.png"):
    """As CVAT exports an image with one mask, which is a square of 4 pixels at that corner."""
    path = train / place
    masks = path.parent / "Masks"
    masks.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((30, 40), bool)
    pixels[corner : corner + 4, corner : corner + 4] = True
    (masks / mask).write_bytes(encode_mask_file(Bitmap(0, 0, pixels), 30, 40))
    text = f"<object><name>healthy</name><deleted>0</deleted><segm><mask>{mask}</mask></segm></object>"
    size = "<imagesize><nrows>30</nrows><ncols>40</ncols></imagesize>"
    path.write_text(f"<annotation><filename>{image}</filename><folder/>{size}{text}</annotation>", encoding="utf-8")


@pytest.mark.parametrize("loops", [["a.jpg", "a.png"], ["a.jpg,a.png"]], ids=["one after the other", "at once"])
def test_a_mask_never_takes_the_name_of_one_of_another_image(train, add_image, loops):
    for name in ("a.jpg", "a.png"):
        add_image(name)

    def collect(images):
        folder = AnnotateFolder(AnnotationCache(train, CLASSES))
        folder.fill(images)
        folder.collect()

    def corner(image):
        found = read_annotation(train / f"{image}.xml", image=image, size=(30, 40), within=train)
        return found.instances[0].bitmap.x

    cvat_of(train, "annotate/jpg/a.jpg.xml", "a.jpg", 5)
    if len(loops) == 2:
        collect(["a.jpg"])
    cvat_of(train, "annotate/png/a.png.xml", "a.png", 20)
    words = r"png.Masks.a_mask_0\.png: has the name of another mask, .*, which belongs to .*train.a\.jpg\.xml"
    for _ in range(2):
        with pytest.raises(MaskALError, match=f"{words}.*Give it another name, in the <mask> of .*png.a.png.xml"):
            collect(["a.jpg", "a.png"])
        assert corner("a.jpg") == 5
        assert (train / "annotate/png/Masks/a_mask_0.png").is_file()
    (train / "annotate/png/Masks/a_mask_0.png").unlink()
    cvat_of(train, "annotate/png/a.png.xml", "a.png", 20, "a_png_mask_0.png")
    collect(["a.jpg", "a.png"])
    assert (corner("a.jpg"), corner("a.png")) == (5, 20)
    assert not (train / "annotate").exists()
    assert not list(train.rglob("*.orig"))


def test_a_stop_between_masks_and_annotation_loses_nothing(train, folder, add_image, annotate_in_cvat, monkeypatch):
    add_image("a.png")
    folder.fill(["a.png"])
    annotate_in_cvat("annotate/a.xml", "a.png")

    def stop(source, target, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(annotate_folder, "move_beside", stop)
    with pytest.raises(KeyboardInterrupt):
        folder.collect()
    monkeypatch.undo()
    again = AnnotateFolder(AnnotationCache(train, CLASSES))
    again.fill(["a.png"])
    assert again.collect() == ["a.png"]
    assert sorted(contents(train)) == ["Masks/a_mask_0.png", "a.png", "a.xml"]


def test_an_earlier_annotation_of_cvat_is_kept_with_its_mask(train, folder, add_image, annotate_in_cvat):
    add_image("a.png")
    annotate_in_cvat("a.xml", "a.png", "helthy")
    folder.fill(["a.png"])
    path = annotate_in_cvat("annotate/a.xml", "a.png")
    content = path.read_bytes()
    assert folder.collect() == ["a.png"]
    assert (train / "a.xml").read_bytes() == content
    assert b"helthy" in (train / "a.xml.orig").read_bytes()
