"""Data sets as tools export them, in an image folder."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.dataset.exports import READ_BYTES, FolderAnnotations, find_exports
from active_learning.dataset.image_folder import take_snapshot

COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"image_id": 1, "category_id": 1}],
    "categories": [],
}
CVAT = '<?xml version="1.0"?><annotations><version>1.1</version>{}</annotations>'


def write(name: str, content: object) -> Callable[[Path], object]:
    text = content if isinstance(content, str) else json.dumps(content)

    def write_file(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return write_file


def packed(name: str, *members: str) -> Callable[[Path], object]:
    def pack(folder: Path) -> None:
        if name.endswith(".zip"):
            with zipfile.ZipFile(folder / name, "w") as package:
                for member in members:
                    package.writestr(member, "x")
        else:
            with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as package:
                for member in members:
                    package.addfile(tarfile.TarInfo(member))

    return pack


COCO_FILE, CVAT_FILE, ARCHIVE = "a COCO json file", "a 'CVAT for images' xml file", "an archive with annotations"
LABELS = "a label file of YOLO"
APART = "an annotation that does not lie beside its image"
LARGE = {**COCO, "images": [{"file_name": "x" * 50, "id": number} for number in range(READ_BYTES // 20)]}
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "COCO": (write("instances.json", COCO), COCO_FILE),
    "COCO in a sub-folder": (write("labels/instances.json", COCO), COCO_FILE),
    "COCO, indented, with a byte order mark": (write("a.b.json", "\ufeff" + json.dumps(COCO, indent=4)), COCO_FILE),
    "COCO in UTF-16": (lambda folder: (folder / "a.b.json").write_text(json.dumps(COCO), "utf-16"), COCO_FILE),
    "COCO that begins with all its images": (write("instances.json", LARGE), COCO_FILE),
    "COCO without objects": (write("instances.json", {"images": [], "categories": [{"id": 1}]}), COCO_FILE),
    "COCO panoptic": (
        write("p.json", {**COCO, "annotations": [{"image_id": 1, "segments_info": []}]}),
        "a COCO panoptic json file",
    ),
    "Datumaro": (
        write("default.json", {"categories": {"label": {}}, "items": [{"annotations": [{"label_id": 0}]}]}),
        "a Datumaro json file",
    ),
    "Datumaro without objects": (
        write("default.json", {"categories": {"label": {}}, "items": [{"annotations": []}]}),
        "",
    ),
    "VGG Image Annotator": (
        write("via.json", {"a.png1": {"regions": [{"shape_attributes": {}}]}}),
        "a file of the VGG Image Annotator",
    ),
    "VGG Image Annotator, a table": (
        write("via.csv", "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,x\n"),
        "a file of the VGG Image Annotator",
    ),
    "another table": (write("a.csv", "filename,weight\n"), ""),
    "Label Studio": (
        write("project.json", [{"annotations": [{"result": [{"from_name": "label"}]}]}]),
        "a json file of Label Studio",
    ),
    "CVAT for images": (write("annotations.xml", CVAT.format('<image id="0" name="a.png"></image>')), CVAT_FILE),
    "CVAT for video": (write("annotations.xml", CVAT.format('<track id="0"></track>')), "a 'CVAT for video' xml file"),
    "zip of an export": (packed("export.zip", "images/a.png", "annotations.xml"), ARCHIVE),
    "tar of an export": (packed("project.tar", "meta.json", "ds/img/a.png"), ARCHIVE),
    "packed tar": (packed("export.tar.gz", "a.json"), ARCHIVE),
    "zip of YOLO": (packed("yolo.zip", "train/images/a.jpg", "train/labels/a.txt"), ARCHIVE),
    "tar of YOLO": (packed("yolo.tar", "data.yaml", "README.txt"), ARCHIVE),
    "zip of images and texts": (packed("images.zip", "a.png", "a.txt"), ""),
    "zip of images": (packed("images.zip", "a.png", "b.png"), ""),
    "no zip": (write("export.zip", "hello"), ""),
    "no tar": (write("export.tar", "hello"), ""),
    "folders of Darwin": (write("annotations/a.json", {"annotations": []}), APART),
    "folders of Supervisely": (write("ann/a.png.json", {}), APART),
    "an annotation of an image that was taken away": (write("gone.json", {"shapes": []}), ""),
    "a table of labels": (write("labels.json", {"rows": [{"image": "a.png", "label_id": 3}]}), ""),
    "a flag called like a key of Label Studio": (write("of_c.json", {"shapes": [], "flags": {"from_name": True}}), ""),
    "another json file": (write("camera.json", {"images": 3}), ""),
    "a list of results": (write("results.json", "[]"), ""),
    "an empty file": (write("new.json", ""), ""),
    "YOLO": (write("labels/train/b.txt", "0 0.1 0.2 0.3 0.2 0.3 0.6\n"), LABELS),
    "YOLO, a box": (write("train/labels/b.txt", "0 0.1 0.2 0.3 0.2\n"), LABELS),
    "YOLO beside the image": (write("a.txt", "0 0.1 0.2 0.3 0.2 0.3 0.6\n"), LABELS),
    "YOLO, not fetched": (write("a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), LABELS),
    "YOLO in a folder of another name": (
        write("label/a.txt", "0 0.1 0.2 0.3 0.2 0.3 0.6\n"),
        "like a label file of YOLO",
    ),
    "a text in another folder": (write("captions/a.txt", "a photo of 3 plants\n"), ""),
    "a text beside the image": (write("a.txt", "a photo of 3 plants\n"), ""),
    "class names": (write("classes.txt", "0 1 2\n"), ""),
    "a list of images": (write("train.txt", "a.png\n"), ""),
    "an empty text": (write("a.txt", ""), ""),
    "a file of the system": (write("._instances.json", COCO), ""),
}


@pytest.mark.parametrize("kind", FILES)
def test_exports_are_found(tmp_path: Path, kind: str) -> None:
    prepare, expected = FILES[kind]
    (tmp_path / "a.png").touch()
    prepare(tmp_path)
    found = find_exports(take_snapshot(tmp_path))
    assert [export.kind for export in found.exports] == ([expected] if expected else [])
    assert not found.beside


def test_lists_of_the_run_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    write("train.json", COCO)(tmp_path)
    assert find_exports(take_snapshot(tmp_path), [tmp_path / "train.json"]).exports == ()


def test_annotations_beside_their_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    write("a.json", {"shapes": []})(tmp_path)
    found = find_exports(take_snapshot(tmp_path))
    assert found.beside == 1 and not found.exports


def test_all_label_files_of_yolo_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for name, content in {"a": "", "b": "0 0.1 0.2 0.3 0.2 0.3 0.6", "c": "x"}.items():
        write(f"labels/{name}.txt", content)(tmp_path)
    found = find_exports(take_snapshot(tmp_path))
    assert [export.path.name for export in found.exports] == ["a.txt", "b.txt", "c.txt"]


def labelme(image: str) -> dict[str, object]:
    return {"shapes": [], "imagePath": image}


MISNAMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a download": (write("s/b (1).json", labelme("b.png")), "s/b.png"),
    "a copy": (write("s/b - Kopie.json", labelme("..\\s\\b.png")), "s/b.png"),
    "with a path of another computer": (write("s/b_.json", labelme("D:\\photos\\b.png")), "s/b.png"),
    "with both suffixes": (write("s/b.png (1).json", labelme("b.png")), "s/b.png"),
    "other capitals": (write("s/B.json", labelme("B.png")), "s/b.png"),
    "of Darwin": (write("s/item 5.json", {"item": {"name": "b.png"}, "annotations": []}), "s/b.png"),
    "of CVAT": (write("s/5.xml", "<annotation><filename>b.png</filename><object/></annotation>"), "s/b.png"),
    "of another tool": (write("s/c.json", {"regions": [], "imagePath": "b.png"}), ""),
    "damaged": (write("s/c.json", '{"imagePath": "b.png"'), ""),
}

STRAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "of an image that has one": (write("a (1).json", labelme("a.png")), "a.png"),
    "of an image that is gone": (write("s/c.json", labelme("c.png")), "c.png"),
    "of an image elsewhere": (write("b.json", labelme("s/b.png")), "s/b.png"),
    "of a renamed image": (write("old.json", labelme("old.png")), "old.png"),
    "of no name": (write("s/c.json", {"shapes": []}), ""),
    "of Supervisely": (write("c.png.json", {"size": {"height": 1, "width": 1}, "objects": []}), ""),
}


def found_beside_annotated_a_and_bare_b(folder: Path, prepare: Callable[[Path], object]) -> FolderAnnotations:
    write("a.json", labelme("a.png"))(folder)
    prepare(folder)
    (folder / "s").mkdir(exist_ok=True)
    for name in ("a.png", "s/b.png"):
        (folder / name).touch()
    return find_exports(take_snapshot(folder))


@pytest.mark.parametrize("kind", STRAY)
def test_annotations_that_are_of_no_image_beside_them_are_found(tmp_path: Path, kind: str) -> None:
    prepare, image = STRAY[kind]
    found = found_beside_annotated_a_and_bare_b(tmp_path, prepare)
    assert list(found.stray.values()) == [image]
    assert not found.misnamed and not found.exports


@pytest.mark.parametrize("kind", MISNAMED)
def test_annotations_that_bear_another_name_than_their_image_are_found(tmp_path: Path, kind: str) -> None:
    prepare, image = MISNAMED[kind]
    found = found_beside_annotated_a_and_bare_b(tmp_path, prepare)
    assert list(found.misnamed.values()) == ([image] if image else [])
    assert not found.stray
    assert not found.exports
