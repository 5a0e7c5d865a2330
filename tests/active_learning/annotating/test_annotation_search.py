"""Annotation files found in the annotate folder, wherever a tool put them."""

from __future__ import annotations

import json

import pytest

from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.annotations import image_named_in

AWAITED = ["a.jpg", "sub/a.jpg", "sub/b.jpg", "c.jpg", "c.png"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({"sub/b.json": None}, {"sub/b.jpg": ["sub/b.json"]}, id="beside"),
        pytest.param({"sub/b.jpg.JSON": None}, {"sub/b.jpg": ["sub/b.jpg.JSON"]}, id="beside, image name"),
        pytest.param({"b.json": "sub/b.jpg"}, {"sub/b.jpg": ["b.json"]}, id="flattened"),
        pytest.param({"b.json": None}, {"sub/b.jpg": ["b.json"]}, id="flattened, no name inside"),
        pytest.param({"labels/x/b.json": "C:\\b.jpg"}, {"sub/b.jpg": ["labels/x/b.json"]}, id="elsewhere"),
        pytest.param({"b.json": None, "sub/b.json": None}, {"sub/b.jpg": ["sub/b.json", "b.json"]}, id="both"),
        pytest.param({"a.json": "a.jpg"}, {"a.jpg": ["a.json"]}, id="equal stems, beside"),
        pytest.param({"a.json": None}, {"a.jpg": ["a.json"]}, id="equal stems, beside, no name"),
        pytest.param({"sub/a.json": None}, {"sub/a.jpg": ["sub/a.json"]}, id="equal stems in sub-folder"),
        pytest.param({"a.json": "sub/a.jpg"}, {"sub/a.jpg": ["a.json"]}, id="equal stems, flattened over another"),
        pytest.param({"a.json": "../sub/a.jpg"}, {"sub/a.jpg": ["a.json"]}, id="made from the original"),
        pytest.param({"x/a.json": "../sub/a.jpg"}, {"sub/a.jpg": ["x/a.json"]}, id="equal stems, elsewhere"),
        pytest.param({"c.json": "c.png"}, {"c.png": ["c.json"]}, id="one folder, one stem"),
        pytest.param({"c.json": "C:\\x\\C.JPG"}, {"c.jpg": ["c.json"]}, id="one stem, path on Windows"),
        pytest.param({"old/b.json": "b.jpg"}, {}, id="of an image that is annotated already"),
        pytest.param({"d.json": "sub/b.jpg", "b.txt": None}, {}, id="other files"),
        pytest.param({"x/a.json": "../../../etc/a.jpg"}, {}, id="leads out, undecided"),
    ],
)
def test_whose_a_file_is(train, add_image, annotate, files, found):
    for name in (*AWAITED, "old/b.jpg"):
        add_image(name)
    for place, image in files.items():
        annotate(f"annotate/{place}", image=image)
    result = search_annotate_folder(train, AWAITED, image_named_in).files
    places = {
        name: [path.relative_to(train / "annotate").as_posix() for path in paths] for name, paths in result.items()
    }
    assert places == found


@pytest.mark.parametrize(("folder", "image"), [("/", "a.jpg"), ("/sub", "sub/a.jpg")])
def test_a_file_of_darwin_is_of_the_folder_that_it_names(train, add_image, folder, image):
    for name in AWAITED:
        add_image(name)
    path = train / "annotate/annotations/a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"item": {"name": "a.jpg", "path": folder}, "annotations": []}), encoding="utf-8")
    found = search_annotate_folder(train, AWAITED, image_named_in)
    assert found.files == ({image: [path]} if folder == "/sub" else {})  # "a.jpg" may be a name without its folder
    assert "a.jpg" in found.faults


@pytest.mark.parametrize(
    ("place", "image", "faults"),
    [
        pytest.param("x/a.json", None, ["a.jpg", "sub/a.jpg"], id="elsewhere, two images"),
        pytest.param("c.json", "z.jpg", ["c.jpg", "c.png"], id="one stem, another name"),
        pytest.param("c.json", "c.png", ["c.jpg"], id="taken by the other of one stem"),
        pytest.param("a.json", "sub/a.jpg", ["a.jpg"], id="flattened over another"),
        pytest.param("sub/b.json", "x/b.jpg", [], id="a name that is nowhere"),
        pytest.param("sub/b.json", "../old/b.jpg", ["sub/b.jpg"], id="of an annotated image"),
    ],
)
def test_what_cannot_be_decided_is_reported(train, add_image, annotate, place, image, faults):
    for name in (*AWAITED, "old/b.jpg"):
        add_image(name)
    path = annotate(f"annotate/{place}", image=image)
    found = search_annotate_folder(train, AWAITED, image_named_in)
    assert sorted(found.faults) == faults
    for name, fault in found.faults.items():
        assert fault.startswith(f"{path}: ")
        assert fault.endswith(f"as {name}.json")


def test_a_broken_file_is_given_to_its_only_image(train, add_image):
    add_image("b.jpg")
    (train / "annotate").mkdir()
    (train / "annotate/b.json").write_text("{", encoding="utf-8")
    assert list(search_annotate_folder(train, ["b.jpg"], image_named_in).files) == ["b.jpg"]


@pytest.mark.parametrize(
    ("place", "image", "owner"),
    [
        pytest.param("a.xml", "a.jpg", "a.jpg", id="beside"),
        pytest.param("default/a.xml", "a.jpg", "a.jpg", id="export"),
        pytest.param("default/sub/a.xml", "sub/a.jpg", "sub/a.jpg", id="export with folders"),
        pytest.param("default/item_000000003.xml", "a.jpg", "a.jpg", id="export, by number"),
        pytest.param("default/sub/item_000000003.xml", "a.jpg", "sub/a.jpg", id="export with folders, by number"),
        pytest.param("Annotations/default/b.xml", "b.jpg", "sub/b.jpg", id="datumaro"),
        pytest.param("c.png.xml", "c.png", "c.png", id="image name"),
        pytest.param("x/item_000000003.xml", "gone.jpg", None, id="a number of no image"),
    ],
)
def test_exports_of_cvat(train, add_image, annotate_in_cvat, place, image, owner):
    for name in AWAITED:
        add_image(name)
    path = annotate_in_cvat(f"annotate/{place}", image)
    found = search_annotate_folder(train, AWAITED, image_named_in)
    assert found.files == ({owner: [path]} if owner else {})


@pytest.mark.parametrize(
    ("place", "image", "owner", "fault"),
    [
        pytest.param("default/a.xml", "a.jpg", None, "may be of a.jpg", id="flat"),
        pytest.param("x/item_000000003.xml", "a.jpg", None, "may be of a.jpg", id="flat, by number"),
        pytest.param("Annotations/default/a.xml", "a.jpg", None, "may be of a.jpg", id="datumaro"),
        pytest.param("a.xml", "a.jpg", None, "may be of a.jpg", id="without CVAT's folder"),
        pytest.param("default/field_2/a.xml", "a.jpg", None, "", id="in the folder of another"),
        pytest.param("default/field_2/item_000000003.xml", "a.jpg", None, "", id="of another, by number"),
        pytest.param("default/field_1/a.xml", "a.jpg", "field_1/a.jpg", "", id="in its folder"),
        pytest.param("default/field_1/item_000000003.xml", "a.jpg", "field_1/a.jpg", "", id="its folder, by number"),
        pytest.param("field_1/a.xml", "a.jpg", "field_1/a.jpg", "", id="beside the copy"),
        pytest.param("default/b.xml", "b.jpg", "field_1/b.jpg", "", id="flat, the only one of its name"),
    ],
)
def test_exports_of_cvat_where_another_image_of_the_name_is_annotated(
    train, add_image, annotate_in_cvat, place, image, owner, fault
):
    awaited = ["field_1/a.jpg", "field_1/b.jpg"]
    for name in ("a.jpg", "field_2/a.jpg", *awaited):
        add_image(name)
    path = annotate_in_cvat(f"annotate/{place}", image)
    found = search_annotate_folder(train, awaited, image_named_in)
    assert found.files == ({owner: [path]} if owner else {})
    text = f"{path}: {fault}; save the annotation of field_1/a.jpg as field_1/a.jpg.xml"
    assert found.faults == ({"field_1/a.jpg": text} if fault else {})


def test_an_export_of_cvat_in_the_folder_of_an_annotated_image_is_not_of_the_image_above(
    train, add_image, annotate_in_cvat
):
    for name in ("a.jpg", "field_2/a.jpg"):
        add_image(name)
    path = annotate_in_cvat("annotate/default/field_2/a.xml", "a.jpg")
    found = search_annotate_folder(train, ["a.jpg"], image_named_in)
    assert found.files == {}
    assert found.faults == {"a.jpg": f"{path}: is of field_2/a.jpg; save the annotation of a.jpg as a.jpg.xml"}


ITEM = """{"version": "2.0", "annotations": [], "item": {"name": "item", "path": "/", "slots": [
{"slot_name": "0", "source_files": [{"file_name": "x.jpg"}]}, {"slot_name": "1", "source_files": []}]}}"""
COCO = '{"images": [], "annotations": [], "categories": []}'


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        pytest.param("annotations.xml", "<annotations/>", "is a 'CVAT for images' xml file", id="CVAT for images"),
        pytest.param("x/result.json", COCO, "is a COCO json file", id="COCO"),
        pytest.param("item.json", ITEM, "is an item of V7 Darwin with several images", id="slots"),
        pytest.param("labels/c.txt", "0 .1 .1 .2 .1 .2 .2", "is a label file of YOLO; with its data.yaml", id="YOLO"),
        pytest.param("labels/1a2b3c4d-c.txt", "0 .1 .1 .2 .1 .2 .2", "is a label file of YOLO", id="YOLO, an upload"),
        pytest.param("labels/c.txt", "", "if it is a label file of YOLO, put it beside its image", id="YOLO, empty"),
    ],
)
def test_exports_of_all_images_are_named_with_the_command(train, add_image, place, text, words):
    (fault,) = faults_of(train, add_image, place, text)
    command = f"convert {train / 'annotate'} --to labelme --classes healthy 'ä b' --out {train / 'annotate'}"
    assert words in fault and fault.endswith(command)


COCO_OF_B = '{"images": [{"id": 1, "file_name": "b.jpg"}], "annotations": [{"image_id": 1}], "categories": []}'
CVAT_OF_B = '<annotations><image name="sub/b.jpg"><box/></image><image name="d.jpg"><box/></image></annotations>'


@pytest.mark.parametrize(
    ("place", "text"),
    [
        pytest.param("annotations.xml", CVAT_OF_B, id="CVAT for images"),
        pytest.param("x/result.json", COCO_OF_B, id="COCO"),
        pytest.param("labels/b.txt", "0 .1 .1 .2 .1 .2 .2", id="YOLO"),
    ],
)
@pytest.mark.parametrize("collected", [False, True])
def test_an_export_that_was_converted_is_named_no_more(train, add_image, annotate, place, text, collected):
    """Its images have files now; c.png, which is in no export, is still to be annotated."""
    (fault,) = faults_of(train, add_image, place, text)
    assert "convert" in fault
    annotate("sub/b.json" if collected else "annotate/sub/b.json")
    awaited = [name for name in AWAITED if not collected or name != "sub/b.jpg"]
    annotated = ["sub/b.jpg"] if collected else []
    assert search_annotate_folder(train, awaited, image_named_in, ["healthy"], annotated).faults == {}


def faults_of(train, add_image, place, text):
    for name in AWAITED:
        add_image(name)
    path = train / "annotate" / place
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    found = search_annotate_folder(train, AWAITED, image_named_in, ["healthy", "ä b"])
    assert found.files == {}
    assert set(found.faults) <= {"c.png"}
    assert all(fault.startswith(f"{path}: ") for fault in found.faults.values())
    return list(found.faults.values())


VIA_REGIONS = '{"a.jpg12": {"filename": "a.jpg", "regions": []}}'


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        pytest.param("via.json", '{"_via_settings": {}}', "is a VGG Image Annotator project", id="VGG project"),
        pytest.param("via.json", VIA_REGIONS, "is a VGG Image Annotator json file; formats read", id="VGG annotations"),
        pytest.param("project-1.json", '[{"id": 1, "annotations": []}]', "is a json list", id="Label Studio"),
        pytest.param("annotations.xml", "<annotations><track/></annotations>", "'CVAT for video'", id="CVAT for video"),
        pytest.param("annotations.xml", "<annotations>", "damaged or half-written", id="damaged"),
        pytest.param("task.zip", "PK", "is an archive, which is not read; unpack it there", id="zip"),
        pytest.param("x/task.tar.gz", "", "is an archive, which is not read; unpack it there", id="tar.gz"),
        pytest.param("task.7z", "7z", "is an archive, which is not read; unpack it there", id="7z"),
        pytest.param("x/TASK.RAR", "Rar!", "is an archive, which is not read; unpack it there", id="rar"),
        pytest.param(
            "labels/c.txt", "c on a table", "is of a kind that is not read; export in one of: COCO, ", id="a text"
        ),
        pytest.param("via.csv", "", "is of a kind that is not read", id="csv"),
        pytest.param("export.ndjson", "", "is of a kind that is not read", id="ndjson"),
        pytest.param(
            "x.json",
            '{"shapes": [], "imagePath": "C.PNG"}',
            "names c.png inside, but bears another name; rename it c.json",
            id="under another name",
        ),
        pytest.param(
            "a (1).json",
            '{"shapes": [], "imagePath": "a.jpg"}',
            "names a.jpg inside, but bears another name; rename it a.json",
            id="under another name, of one of two images",
        ),
        pytest.param(
            "sub/a (1).json",
            '{"shapes": [], "imagePath": "a.jpg"}',
            "names sub/a.jpg inside, but bears another name; rename it a.json",
            id="under another name, of the other one",
        ),
        pytest.param(
            "x/a (1).json",
            '{"shapes": [], "imagePath": "a.jpg"}',
            "may be of a.jpg or sub/a.jpg; save it beside the one that it is of",
            id="under another name, of either",
        ),
        pytest.param("classes.txt", "", "", id="class names"),
        pytest.param("labels/1a2b3c4d-z.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5", "", id="an upload of no image here"),
        pytest.param(".task.zip", "", "", id="a hidden archive"),
        pytest.param(".Trash-1000/c.json", '{"shapes": []}', "", id="thrown away"),
        pytest.param("#recycle/c.json", '{"shapes": []}', "", id="thrown away on a NAS"),
        pytest.param("package.json", '{"name": 1}', "", id="of another program"),
        pytest.param("meta.json", '{"classes": [], "tags": []}', "", id="of a Supervisely project"),
        pytest.param("old.json", '{"shapes": []}', "", id="of an image that is not awaited"),
    ],
)
def test_what_cannot_be_used_is_named(train, add_image, place, text, words):
    faults = faults_of(train, add_image, place, text)
    assert bool(faults) is bool(words)
    assert all(words in fault and "convert" not in fault for fault in faults)


def test_of_many_such_files_the_first_are_named(train, add_image):
    add_image("a.jpg")
    (train / "annotate").mkdir()
    for number in range(9):
        (train / "annotate" / f"{number}.csv").touch()
    fault = search_annotate_folder(train, ["a.jpg"], image_named_in).faults["a.jpg"]
    assert fault.splitlines()[4].startswith(f"{train / 'annotate/4.csv'}: ")
    assert fault.splitlines()[5:] == ["4 more such files"]
