"""What a person has made and `auto_annotate.py` would hide for ever; where nothing is lost, it goes on."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.annotating.persons_work import PersonsWork
from active_learning.dataset.image_folder import find_annotations, take_snapshot

Prepare = Callable[[Path], object]
SHAPE = '<polygon label="a" points="1,1;9,1;9,9"/>'
PHOTO = '{"title": "13.png", "photoTakenTime": {}}'
COCO, HERE = "all.json: is a COCO json file; convert it: ", "convert {train} --to labelme --classes a b --out {train}"
APART = "{train}_converted; or move it away"


def coco(*images: str) -> str:
    """With an object in each."""
    entries = list(enumerate(images, 1))
    objects = [
        {"id": one, "image_id": one, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]} for one, _ in entries
    ]
    named = [{"id": one, "file_name": image, "height": 24, "width": 32} for one, image in entries]
    return json.dumps({"images": named, "annotations": objects, "categories": [{"id": 1, "name": "a"}]})


def text(name: str, content: str) -> Prepare:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")

    return write


def bare(*numbers: int, then: Prepare = lambda _: None) -> Prepare:
    """These images have no annotation, those of all numbers where none is given."""

    def prepare(folder: Path) -> None:
        for number in numbers or range(14):
            (folder / f"{number:02d}.json").unlink()
        then(folder)

    return prepare


def both(*steps: Prepare) -> Prepare:
    return lambda folder: [step(folder) for step in steps]


def packed(folder: Path) -> None:
    with zipfile.ZipFile(folder / "task.zip", "w") as package:
        package.writestr("instances.json", coco("13.png"))


def renamed(folder: Path) -> None:
    (folder / "13.json").rename(folder / "13 (1).json")


def shared_stem(folder: Path) -> None:
    shutil.copy(folder / "13.png", folder / "13.jpg")


MISTAKES: dict[str, tuple[Prepare, str]] = {
    "COCO, nothing is annotated": (bare(then=text("all.json", coco("13.png"))), COCO + "python -m"),
    "made into this folder": (bare(then=text("all.json", coco("13.png"))), HERE),
    "of other images, nothing is annotated": (bare(then=text("all.json", coco("x.png"))), HERE),
    "half converted": (bare(12, 13, then=text("all.json", coco("00.png", "13.png"))), APART),
    "CVAT for images": (
        bare(13, then=text("task.xml", f'<annotations><image name="13.png">{SHAPE}</image></annotations>')),
        "task.xml: is a 'CVAT for images' xml file; convert it: ",
    ),
    "YOLO": (
        bare(13, then=text("labels/13.txt", "0 0.1 0.2 0.3 0.2 0.3 0.6\n")),
        "13.txt: is a label file of YOLO; convert it: ",
    ),
    "archive": (
        bare(13, then=packed),
        "task.zip: is an archive with annotations; put what belongs to it into a folder",
    ),
    "whose images cannot be seen": (bare(13, then=text("all.json", coco("00.png")[:-9])), COCO),
    "image with a file of another program": (
        bare(13, then=both(text("13.png.json", PHOTO), text("all.json", coco("13.png")))),
        COCO,
    ),
    "image that shares its stem": (both(shared_stem, text("all.json", coco("13.jpg"))), COCO),
    "named as an image": (
        bare(13, then=text("00.json", coco("00.png", "13.png"))),
        "00.json: is a COCO json file; rename it, as it bears the name of 00.png, and turn it into a file for each",
    ),
    "annotation that was renamed": (
        renamed,
        "13 (1).json: names 13.png inside, but bears another name; rename it 13.json",
    ),
}


def work_in(folder: Path, *classes: str) -> PersonsWork:
    snapshot = take_snapshot(folder)
    annotated, doubtful = find_annotations(folder, snapshot.images, snapshot=snapshot)
    left = [image for image in snapshot.images if image not in annotated and image not in doubtful]
    return PersonsWork(snapshot, annotated, left, classes)


@pytest.mark.parametrize("kind", MISTAKES)
def test_what_may_be_of_images_without_an_annotation_is_a_mistake(settings, kind: str):
    prepare, message = MISTAKES[kind]
    prepare(settings.traindir)
    work = work_in(settings.traindir, "a", "b")
    (found,) = work.mistakes()
    assert message.format(train=settings.traindir) in found
    assert not list(work.warnings())


VIA = '{"1": {"regions": [{"shape_attributes": {}}]}}'
WARNINGS: dict[str, tuple[Prepare, str]] = {
    "a tool that is not read": (
        bare(then=text("via.json", VIA)),
        "a file of the VGG Image Annotator; it is not read: export COCO instead, or move it away",
    ),
    "of images elsewhere": (bare(13, then=text("all.json", coco("x.png"))), COCO),
    "annotation of no image": (
        bare(13, then=text("x.json", '{"shapes": [], "imagePath": "x.png"}')),
        "x.json: is an annotation that names x.png inside, but bears the name of no image beside it",
    ),
    "converted": (bare(13, then=text("all.json", coco("00.png"))), ""),
    "nothing to pre-label": (text("all.json", coco("x.png")), ""),
}


@pytest.mark.parametrize("kind", WARNINGS)
def test_what_is_of_no_image_without_an_annotation_stops_nothing(settings, kind: str):
    prepare, message = WARNINGS[kind]
    prepare(settings.traindir)
    work = work_in(settings.traindir, "a", "b")
    assert not list(work.mistakes())
    found = list(work.warnings())
    assert len(found) == bool(message) and message in "".join(found)


def test_classes_that_are_not_known_are_to_be_filled_in(settings):
    bare(13, then=text("all.json", coco("13.png")))(settings.traindir)
    text("00.json", coco("00.png"))(settings.traindir)
    found = list(work_in(settings.traindir).mistakes())
    assert len(found) == 2 and all(" --to labelme --classes CLASS --out " in line for line in found)


LABELLED = '{"shapes": [{"label": "other", "points": [[1, 1], [9, 1], [9, 9]]}], "imagePath": "03.png"}'
FAULTS = {
    "empty": ("", "is empty; save the annotation again"),
    "zeros": ("\0" * 9, "is empty; save the annotation again"),
    "cut off": (LABELLED[:40], "the file is damaged or half-written: save the annotation again"),
    "no object can be read": (LABELLED.replace(", [9, 9]", ""), "no object is left of 03.png: correct it, or save the"),
    "of a tool that is not read": (VIA, "is a VGG Image Annotator json file; formats read here: labelme, cvat"),
    "of many images": (coco("03.png"), "is a COCO json file; rename it, as it bears the name of 03.png"),
    "a label of nobody": (LABELLED, ""),
    "without objects": ('{"shapes": []}', ""),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_annotations_that_cannot_be_read(settings, kind: str):
    content, fault = FAULTS[kind]
    text("03.json", content)(settings.traindir)
    work = work_in(settings.traindir, "a")
    assert list(work.faults) == ["03.png"] * bool(fault)
    assert fault in work.faults.get("03.png", "") and not list(work.mistakes())


def test_a_damaged_image_is_not_its_annotations_fault(settings):
    (settings.traindir / "03.png").write_bytes(b"")
    assert not work_in(settings.traindir, "a").faults
