"""What an export has objects of, of all kinds of exports; and that nothing is advised once it is converted."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from active_learning.dataset import exported_images as module
from active_learning.dataset.exported_images import exported_images, is_converted
from active_learning.dataset.exports import find_exports
from active_learning.dataset.image_folder import claimants, take_snapshot

IMAGES = ["a.png", "b.png", "sub/ä.jpg", "c.png"]
COCO = {
    "images": [{"id": 1, "file_name": "train\\a.png"}, {"id": "2", "file_name": "sub/ä.jpg"}, {"id": 3}, "odd",
               {"id": 4, "file_name": "b.png"}],
    "annotations": [{"image_id": 1}, {"image_id": 2}, {"image_id": 3}, "odd"],
    "categories": [],
}  # fmt: skip
UPLOADS = {**COCO, "images": [{"id": 1, "file_name": "1a2b3c4d-a.png"}, {"id": 2, "file_name": "9a8b7c6d-%C3%A4.jpg"}]}
SHAPE = '<polygon points="1,1;2,1;2,2"/>'
CVAT = f'<annotations><image name="x/a.png">{SHAPE}</image><image name="ä">{SHAPE}</image><image name="b.png"/>'
CVAT += "<image/></annotations>"
LABEL = "0 0.1 0.2 0.3 0.2 0.3 0.6\n"


def text(name: str, content: object, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
        return path

    return write


def packed(name: str, **members: str) -> Callable[[Path], Path]:
    """`__` in names of members stands for /, `_1` for a point."""

    def pack(folder: Path) -> Path:
        contents = {key.replace("__", "/").replace("_1", "."): value.encode() for key, value in members.items()}
        if name.endswith(".zip"):
            with zipfile.ZipFile(folder / name, "w") as package:
                for member, content in contents.items():
                    package.writestr(member, content)
        else:
            with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as package:
                for member, content in contents.items():
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    package.addfile(info, BytesIO(content))
        return folder / name

    return pack


def locked(name: str, **members: str) -> Callable[[Path], Path]:
    """A zip whose members say that they are encrypted."""

    def pack(folder: Path) -> Path:
        path = packed(name, **members)(folder)
        content = path.read_bytes()
        for header, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # of a member, and of its entry in the list
            start = content.index(header) + place
            content = content[:start] + b"\1" + content[start + 1 :]
        path.write_bytes(content)
        return path

    return pack


EMPTY_LABELS = "YOLO without objects"
BOTH = {"a.png", "sub/ä.jpg"}
EXPORTS: dict[str, tuple[Callable[[Path], Path], set[str]]] = {
    "COCO": (text("all.json", COCO), BOTH),
    "COCO with a byte order mark": (text("all.json", COCO, "utf-8-sig"), BOTH),
    "COCO without objects": (text("all.json", {**COCO, "annotations": []}), {"b.png", *BOTH}),
    "COCO, damaged": (text("all.json", json.dumps(COCO)[:-9]), set()),
    "COCO with odd lists": (text("all.json", {"images": 3, "annotations": {}}), set()),
    "CVAT for images": (text("annotations.xml", CVAT), BOTH),
    "YOLO": (text("labels/a.txt", LABEL), {"a.png"}),
    "YOLO, an upload": (text("labels/1a2b3c4d-a.txt", LABEL), {"a.png"}),
    "YOLO, an upload beside its image": (text("1a2b3c4d-a.txt", LABEL), {"a.png"}),
    "COCO, of uploads": (text("all.json", UPLOADS), BOTH),
    "CVAT for images without objects": (
        text("annotations.xml", '<annotations><image name="a.png"/></annotations>'),
        {"a.png"},
    ),
    "YOLO, of no image here": (text("labels/z.txt", LABEL), set()),
    EMPTY_LABELS: (text("labels/a.txt", ""), {"a.png"}),
    "folders of Darwin": (text("annotations/a.json", {}), {"a.png"}),
    "folders of Supervisely": (text("ann/a.png.json", {}), {"a.png"}),
    "zip of CVAT for images": (packed("x.zip", images__b_1png="", annotations_1xml=CVAT), BOTH),
    "zip of COCO": (packed("x.zip", annotations__default_1json=json.dumps(COCO)), BOTH),
    "zip of CVAT's LabelMe": (packed("x.zip", default__a_1xml="<annotation/>", default__b_1png=""), {"a.png"}),
    "zip of YOLO": (packed("x.zip", data_1yaml="", labels__train__a_1txt=LABEL, train_1txt=""), {"a.png"}),
    "zip, damaged": (text("x.zip", "PK"), set()),
    "zip with a password": (locked("x.zip", annotations_1xml=CVAT), set()),
    "tar, damaged": (text("x.tgz", "\x1f\x8b\x08", "latin-1"), set()),
    "tar of Supervisely": (packed("x.tar", meta_1json="{}", ds__ann__a_1png_1json="{}", ds__img__b_1png=""), {"a.png"}),
    "packed tar": (packed("x.tar.gz", a_1json="{}"), {"a.png"}),
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_the_images_of_an_export(tmp_path: Path, kind: str) -> None:
    write, images = EXPORTS[kind]
    path, owners = write(tmp_path), claimants(IMAGES)
    assert exported_images(path, owners) == images
    assert is_converted(path, owners, {*IMAGES}) == bool(images)
    assert not is_converted(path, owners, {"b.png", "sub/ä.jpg"})


@pytest.mark.parametrize("kind", EXPORTS)
def test_what_was_converted_is_advised_no_more(tmp_path: Path, kind: str) -> None:
    write, images = EXPORTS[kind]
    for image in (IMAGES[0], IMAGES[1], IMAGES[3]):
        (tmp_path / image).touch()
    text("c.json", {"shapes": []})(tmp_path)  # which a person has made
    write(tmp_path)
    before = find_exports(take_snapshot(tmp_path)).exports
    if "damaged" not in kind and "odd" not in kind and kind != EMPTY_LABELS:
        assert before or not images
    (tmp_path / "a.json").write_text('{"shapes": []}', encoding="utf-8")
    after = find_exports(take_snapshot(tmp_path))
    assert after.beside == 2 and after.exports == (() if images and "b.png" not in images else before)


@pytest.mark.parametrize("kind", [one for one, (_, images) in EXPORTS.items() if images and one != EMPTY_LABELS])
@pytest.mark.parametrize("bare", [True, False], ids=["with images left", "all annotated"])
def test_an_export_that_came_after_what_was_converted_is_named_again(tmp_path: Path, kind: str, bare: bool) -> None:
    """It may hold corrections."""
    write, images = EXPORTS[kind]
    export = write(tmp_path)
    for number, image in enumerate(sorted(images)):
        text(image, "")(tmp_path)
        made = text(f"{image}.json", {"shapes": [], "number": number})(tmp_path)
        os.utime(made, (100, 100))
    if bare:
        (tmp_path / "bare.png").touch()
    for time, expected in {100: [], 101: [], 103: [(export, True)]}.items():
        os.utime(export, (time, time))
        found = find_exports(take_snapshot(tmp_path)).exports
        assert [(one.path, one.later) for one in found] == expected, time


@pytest.mark.parametrize("change", ["", " "], ids=["a backup", "a correction"])
def test_a_copy_of_an_annotation_elsewhere_is_no_correction(tmp_path: Path, change: str) -> None:
    text("a.png", "")(tmp_path)
    os.utime(text("a.json", {"shapes": []})(tmp_path), (100, 100))
    text("backup/a.json", json.dumps({"shapes": []}) + change)(tmp_path)
    assert [one.later for one in find_exports(take_snapshot(tmp_path)).exports] == ([True] if change else [])


@pytest.mark.parametrize("converted", [["a.json", "b.json"], ["a.json"]], ids=["kept", "left out"])
def test_an_empty_label_file_is_advised_no_more_once_the_others_are_converted(
    tmp_path: Path, converted: list[str]
) -> None:
    for name, content in {"a.png": "", "b.png": "", "a.txt": LABEL, "b.txt": ""}.items():
        text(name, content)(tmp_path)
    assert [one.path.name for one in find_exports(take_snapshot(tmp_path)).exports] == ["a.txt", "b.txt"]
    for name in converted:
        text(name, {"shapes": []})(tmp_path)
    assert find_exports(take_snapshot(tmp_path)).exports == ()


def test_images_of_one_name_must_all_be_annotated(tmp_path: Path) -> None:
    path, owners = text("all.json", COCO)(tmp_path), claimants(["x/a.png", "y/a.png"])
    assert not is_converted(path, owners, {"x/a.png"})
    assert is_converted(path, owners, {"x/a.png", "y/a.png"})


def test_a_file_that_is_gone_or_large_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exported_images(tmp_path / "all.json", claimants(IMAGES)) == set()
    monkeypatch.setattr(module, "MOST_BYTES", 5)
    for write in (text("large.json", COCO), packed("large.zip", large_1json=json.dumps(COCO))):
        assert exported_images(write(tmp_path), claimants(IMAGES)) == set()


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    write, owners = text("all.json", COCO), claimants(IMAGES)
    assert exported_images(write(tmp_path), owners) == BOTH
    assert exported_images(text("all.json", {**COCO, "annotations": [{"image_id": 4}]})(tmp_path), owners) == {"b.png"}
