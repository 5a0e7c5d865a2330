"""Annotated images found in folders and in the exports of tools."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotations.contours import instance_mask
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.conversion.report import Report
from active_learning.conversion.sources import find_sources, names_in_data_set
from active_learning.errors import AnnotationError

HEIGHT, WIDTH = 30, 40


class Found:
    """The sources of a folder, what was reported of it, and the objects of each image."""

    def __init__(self, root: Path, **options: Path) -> None:
        self.messages: list[str] = []
        report = Report(self.messages.append)
        self.sources, self.bare = find_sources(root, report, **options)
        self.images = [source.image for source in self.sources]
        self.files = {source.image: source.path.relative_to(root).as_posix() for source in self.sources}
        self.names = list(names_in_data_set(self.sources, root).values())

    def objects(self) -> dict[str, list[tuple[str, int]]]:
        annotations = [source.read(source.image) for source in self.sources]
        return {
            one.image: [(each.label, int(instance_mask(each, HEIGHT, WIDTH).sum())) for each in one.instances]
            for one in annotations
        }


def test_annotations_beside_images(root, add_image, annotate):
    for name in ("a.png", "sub/a.png", "sub/ä b.jpg", "c.png"):
        add_image(name)
    annotate("a.json", "a.png", "healthy")
    annotate("sub/a.png.json", "a.png", "healthy", "ä b", tool="supervisely")
    annotate("sub/ä b.xml", "ä b.jpg", "healthy", tool="cvat")
    found = Found(root)
    assert found.messages == []
    assert found.bare == 1
    assert found.objects() == {
        "a.png": [("healthy", 88)],
        "sub/a.png": [("healthy", 88), ("ä b", 88)],
        "sub/ä b.jpg": [("healthy", 88)],
    }
    assert found.names == found.images


def test_a_release_of_darwin(root, add_image, annotate):
    for name in ("images/a.png", "images/sub/a.png", "images/b.jpg", "images/flat/c.png"):
        add_image(name)
    annotate("releases/latest/annotations/b.json", "b.jpg", "healthy", tool="darwin")
    annotate("annotations/a.json", "a.png", "healthy", tool="darwin")
    annotate("annotations/sub/a.json", "sub/a.png", "ä b", tool="darwin")
    annotate("annotations/c.json", "flat/c.png", "ä b", tool="darwin")
    found = Found(root)
    assert (found.messages, found.bare) == ([], 0)
    assert found.files["images/b.jpg"] == "releases/latest/annotations/b.json"
    assert found.objects()["images/sub/a.png"] == found.objects()["images/flat/c.png"] == [("ä b", 88)]
    assert found.names == ["a.png", "b.jpg", "flat/c.png", "sub/a.png"]


def test_an_image_of_a_release_that_is_gone_is_not_mistaken_for_another(root, add_image, annotate):
    add_image("images/sub/a.png")
    annotate("annotations/a.json", "a.png", "healthy", tool="darwin")
    annotate("annotations/sub/a.json", "sub/a.png", "ä b", tool="darwin")
    found = Found(root)
    assert found.files == {"images/sub/a.png": "annotations/sub/a.json"}
    (fault,) = found.messages
    assert fault.startswith(f"error: {root / 'annotations/a.json'}: image 'a.png': is neither at ")
    assert str(root / "annotations/a.png") in fault


def test_a_project_of_supervisely(root, add_image, annotate):
    write_meta(root / "meta.json", ["healthy"])
    for name in ("ds1/img/a.png", "ds1/datasets/ds 2/img/a.png", "ds1/img/b.png"):
        add_image(name)
        annotate(name.replace("/img/", "/ann/") + ".json", name, "healthy", tool="supervisely")
    (root / "ds1/ann/b.png.json").rename(root / "ds1/ann/b.json")
    found = Found(root)
    assert found.messages == []
    assert found.names == ["ds1/ds 2/a.png", "ds1/a.png", "ds1/b.png"]
    assert set(map(str, found.objects().values())) == {"[('healthy', 88)]"}


@pytest.mark.parametrize("place", ["default/{}", "{}"])
def test_labelme_3_of_cvat(root, add_image, annotate, place):
    for name in ("a.png", "sub/a.png"):
        add_image(place.format(name))
        annotate(place.format(name).replace(".png", ".xml"), name, "healthy", tool="cvat")
    found = Found(root)
    assert (found.messages, found.bare) == ([], 0)
    assert found.names == ["a.png", "sub/a.png"]
    assert set(map(str, found.objects().values())) == {"[('healthy', 88)]"}


def test_labelme_3_of_datumaro(root, add_image, annotate):
    for name in ("train/a.png", "val/a.png"):
        add_image(f"Images/{name}")
        path = annotate(f"Annotations/{name}".replace(".png", ".xml"), "a.png", "healthy", tool="cvat")
        shutil.copytree(path.parent / "Masks", root / "Masks" / path.parent.name)
        shutil.rmtree(path.parent / "Masks")
    found = Found(root)
    assert (found.messages, found.bare) == ([], 0)
    assert found.names == ["train/a.png", "val/a.png"]
    assert set(map(str, found.objects().values())) == {"[('healthy', 88)]"}


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_files_of_numbers(root, add_image, annotate, numbers):
    for name, number in zip(("default/a.png", "default/b.png"), numbers, strict=True):
        add_image(name)
        annotate(f"default/item_{number:09d}.xml", name.removeprefix("default/"), name[8], tool="cvat")
    found = Found(root)
    assert {image: labels[0][0] for image, labels in found.objects().items()} == {
        "default/a.png": "a",
        "default/b.png": "b",
    }


@pytest.mark.parametrize(
    ("xml", "images", "named"),
    [
        pytest.param("annotations.xml", ["images/a.png", "images/s/ä.jpg"], ["a.png", "s/ä.jpg"], id="cvat"),
        pytest.param("annotations.xml", ["a.png", "s/ä.jpg"], ["a.png", "s/ä.jpg"], id="beside the images"),
        pytest.param("annotations.xml", ["a.png"], ["a"], id="no suffix"),
        pytest.param("train.xml", ["images/train/a.png", "images/val/a.png"], ["a.png"], id="subset of datumaro"),
    ],
)
def test_images_1_1_of_cvat(root, add_image, describe, xml, images, named):
    for image in images:
        add_image(image)
    describe(xml, *named)
    found = Found(root)
    assert found.messages == []
    assert found.images == images[: len(named)]
    assert set(map(str, found.objects().values())) == {"[('healthy', 88)]"}


@pytest.mark.parametrize(
    ("json_file", "images", "named"),
    [
        pytest.param("train.json", ["a.png", "s/a.png"], ["a.png", "s/a.png"], id="beside"),
        pytest.param("annotations/train.json", ["images/a.png", "images/s/a.png"], ["a.png", "s/a.png"], id="apart"),
        pytest.param("annotations/train.json", ["train/a.png"], ["train/a.png"], id="from the root"),
        pytest.param("annotations/train.json", ["train/x.png"], ["x.png"], id="in some folder"),
    ],
)
def test_coco(root, add_image, describe, json_file, images, named):
    for image in images:
        add_image(image)
    describe(json_file, *named)
    found = Found(root)
    assert found.messages == []
    assert found.images == images
    assert set(map(str, found.objects().values())) == {"[('healthy', 88)]"}


def test_the_file_beside_the_image_counts(root, add_image, annotate, describe):
    for name in ("a.png", "b.png", "c.png"):
        add_image(name)
    annotate("a.json", "a.png", "ä b")
    annotate("a.xml", "a.png", "healthy", tool="cvat")
    annotate("b.json", "b.png", "ä b")
    describe("train.json", "a.png", "b.png", "c.png")
    found = Found(root)
    assert found.files == {"a.png": "a.json", "b.png": "b.json", "c.png": "train.json"}
    assert [text.partition(": annotated in ")[0] for text in found.messages] == [
        f"warning: {root / 'a.xml'}: a.png",
        f"warning: {root / 'train.json'}: a.png and 1 more images",
    ]


UNOPENED = {"cvat": "a.xml", "darwin": "a.json", "supervisely": "a.png.json"}


@pytest.mark.parametrize("export", ["train.json", "annotations/train.json", "train.xml", "more/1.xml", "b.json"])
@pytest.mark.parametrize("tool", UNOPENED)
def test_a_file_beside_the_image_gives_way_where_nobody_may_have_opened_it(
    root, add_image, annotate, describe, tool, export
):
    add_image("a.png")
    annotate(UNOPENED[tool], "a.png", tool=tool)
    if export in ("more/1.xml", "b.json"):
        annotate(export, "a.png", "healthy", tool="cvat" if export.endswith(".xml") else "labelme")
    else:
        describe(export, "a.png")
    found = Found(root)
    assert (found.files, found.messages) == ({"a.png": export}, [])
    assert found.objects() == {"a.png": [("healthy", 88)]}


@pytest.mark.parametrize("place", ["data.yaml", "labels/data.yaml"])
def test_it_gives_way_to_labels_of_yolo(root, add_image, annotate, place):
    add_image("images/a.png")
    annotate("images/a.xml", "a.png", tool="cvat")
    (root / "labels").mkdir()
    (root / place).write_text("names: [healthy]\n", encoding="utf-8")
    (root / "labels/a.txt").write_text("0 0.1 0.1 0.3 0.1 0.3 0.4\n", encoding="utf-8")
    assert Found(root).files == {"images/a.png": "labels/a.txt"}


def test_of_two_exports_that_it_gives_way_to_neither_is_lost(root, add_image, annotate, describe):
    add_image("a.png")
    annotate("a.xml", "a.png", tool="cvat")
    describe("1.json", "a.png")
    annotate("more/2.xml", "a.png", "ä b", tool="cvat")
    with pytest.raises(AnnotationError, match="has other objects in"):
        Found(root).objects()


@pytest.mark.parametrize(
    ("labels", "tool", "exported", "reason"),
    [
        pytest.param((), "labelme", True, "objects here, and none in .*a.json, which is used; if", id="empty"),
        pytest.param(("ä b",), "labelme", True, "annotated in .*a.json already; this is left out", id="with objects"),
        pytest.param(("ä b",), "darwin", True, "annotated in .*a.json already; this is left out", id="of a tool"),
        pytest.param((), "labelme", False, "annotated in .*a.json already; this is left out", id="both empty"),
        pytest.param((), "darwin", False, "annotated in .*a.json already; this is left out", id="both, of a tool"),
    ],
)
def test_else_it_counts_and_what_is_left_out_is_said(root, add_image, annotate, labels, tool, exported, reason):
    """An empty file of LabelMe is a person's, or MaskAL's, word that the image holds no object."""
    add_image("a.png")
    annotate("a.json", "a.png", *labels, tool=tool)
    annotate("more/a.xml", "a.png", *(["healthy"] if exported else []), tool="cvat")
    found = Found(root)
    assert found.files == {"a.png": "a.json"}
    (message,) = found.messages
    assert re.search(f"a.xml: a.png: {reason}", message)


def test_a_damaged_file_beside_the_image_is_an_error_all_the_same(root, add_image, annotate, describe):
    add_image("a.png")
    annotate("a.xml", "a.png", tool="cvat").write_text("<annotation><object></annotation>", encoding="utf-8")
    describe("train.json", "a.png")
    with pytest.raises(AnnotationError, match="a.xml"):
        Found(root).objects()


def test_what_is_no_annotation_is_named_and_left(root, add_image):
    add_image("a.png")
    (root / "package.json").write_text('{"name": "x"}', encoding="utf-8")
    (root / "results.json").write_text("[]", encoding="utf-8")
    (root / "video.xml").write_text("<annotations><track/></annotations>", encoding="utf-8")
    found = Found(root)
    assert (found.images, found.bare) == ([], 1)
    assert [text.partition(":")[0] for text in found.messages] == ["warning"] * 3
    assert "is a 'CVAT for video' xml file (export 'CVAT for images' instead); it is left as it is" in found.messages[2]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 5, "category_id": 1}]}, "a COCO panoptic json"),
        ({"id": 1, "image_id": 1, "caption": "two plants"}, "a COCO json file of captions"),
    ],
)
def test_coco_without_objects_of_its_own_does_not_contradict_the_instances(root, add_image, describe, entry, kind):
    add_image("images/a.png")
    describe("annotations/instances.json", "a.png")
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [entry]}
    (root / "annotations/other.json").write_text(json.dumps(content), encoding="utf-8")
    found = Found(root)
    assert found.objects() == {"images/a.png": [("healthy", 88)]}
    (message,) = found.messages
    assert message.startswith(f"warning: {root / 'annotations/other.json'}: is {kind}")


@pytest.mark.parametrize("more", [[], [{"id": 9, "image_id": 1, "caption": "two plants"}]])
def test_objects_of_coco_may_have_captions(root, add_image, describe, more):
    add_image("a.png")
    path = describe("c.json", "a.png")
    document = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"][0]["caption"] = "a plant"
    document["annotations"] = [*more, *document["annotations"]]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert Found(root).objects() == {"a.png": [("healthy", 88)]}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param({"x.json": "{"}, "x.json: line 1", id="broken json"),
        pytest.param({"x.xml": "<annotation>"}, "x.xml: line 1", id="broken xml"),
        pytest.param({"x.json": '{"images": {}, "annotations": []}'}, "images: must be a list", id="broken coco"),
        pytest.param({"x.json": '{"shapes": [], "imagePath": "gone.png"}'}, "'gone.png': is neither at", id="no image"),
        pytest.param(
            {"x.json": '{"images": [{"id": 1, "file_name": ".."}], "annotations": [], "categories": []}'},
            "'..': is neither at",
            id="no name of a file",
        ),
    ],
)
def test_faulty_files_are_errors(root, add_image, files, reason):
    add_image("a.png")
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    found = Found(root)
    assert found.images == []
    (message,) = found.messages
    assert message.startswith("error: ")
    assert reason in message


def test_one_of_two_images_is_an_error(root, add_image, describe):
    for name in ("x/a.png", "y/a.png"):
        add_image(name)
    describe("train.json", "a.png")
    assert "may be x/a.png or y/a.png" in Found(root).messages[0]


def test_hidden_folders_and_that_of_copies_are_not_searched(root, add_image, annotate):
    for name in ("a.png", "annotate/b.png", ".v7/c.png"):
        add_image(name)
    for name in ("a", "annotate/b"):
        annotate(f"{name}.json", f"{name}.png", "healthy")
    (root / ".v7/metadata.json").write_text("{", encoding="utf-8")
    found = Found(root)
    assert (found.images, found.messages) == (["a.png"], [])


def test_images_of_one_name_in_the_data_set_keep_their_folders(root, add_image, annotate):
    for name in ("ds1/img/a.png", "ds1/a.png"):
        add_image(name)
    annotate("ds1/ann/a.png.json", "a.png", "healthy", tool="supervisely")
    annotate("ds1/a.json", "a.png", "healthy")
    assert Found(root).names == ["ds1/a.png", "ds1/img/a.png"]


def test_masks_are_read_within_the_folder_alone(root, add_image, annotate, tmp_path):
    add_image("a.png")
    path = annotate("a.xml", "a.png", "healthy", tool="cvat")
    shutil.move(root / "Masks", tmp_path / "Masks")
    text = path.read_text(encoding="utf-8").replace("<folder></folder>", f"<folder>{root.name}</folder>")
    path.write_text(text, encoding="utf-8")
    (source,) = Found(root).sources
    annotation = source.read("a.png")
    assert np.isclose(instance_mask(annotation.instances[0], HEIGHT, WIDTH).sum(), 4)
    assert "there is no mask" in annotation.warnings[0]


@pytest.mark.parametrize(
    "name",
    [
        "..\\\\..\\\\label-studio\\\\media\\\\upload\\\\4\\\\a.png",
        "images\\\\1/a.png",
        "/label-studio/data/upload/4/a.png",
        "C:\\\\field\\\\a.png",
        "https://host/data/4/a.png",
        "images/a.png",
        "/data/local-files/?d=field/a.png",
    ],
)
@pytest.mark.parametrize("place", ["images/a.png", "a.png"])
def test_paths_of_other_machines_in_coco(root, add_image, describe, name, place):
    add_image(place)
    path = describe("result.json", "NAME")
    path.write_text(path.read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
    found = Found(root)
    assert (found.messages, found.images) == ([], [place])
    assert found.objects() == {place: [("healthy", 88)]}


@pytest.mark.parametrize("named", ["/home/anna/field/a.png", "C:\\field\\a.png", "field/a.png", "../photos/a.png"])
def test_paths_of_other_machines_in_labelme(root, add_image, annotate, named):
    add_image("photos/a.png")
    annotate("labels/a.json", image=named)
    found = Found(root)
    assert (found.messages, found.images) == ([], ["photos/a.png"]) or named == "field/a.png"


def coco_of(*names: str) -> str:
    square = {"category_id": 1, "segmentation": [[2, 3, 12, 3, 12, 13, 2, 13]]}
    return json.dumps({
        "images": [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, **square} for n in range(len(names))],
        "categories": [{"id": 1, "name": "healthy"}],
    })  # fmt: skip


LABELME = json.dumps({
    "imagePath": "1.png",
    "shapes": [{"label": "healthy", "points": [[2, 3], [12, 3], [12, 13]], "shape_type": "polygon"}],
})  # fmt: skip
CVAT_IMAGE = '<annotations><image name="train/1.png" width="40" height="30"><box label="healthy" xtl="2" ytl="3" xbr="9" ybr="9"/></image></annotations>'  # noqa: E501


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("c.json", coco_of("train/1.png", "train/2.png"), id="COCO with folders"),
        pytest.param("c.json", coco_of("C:\\d\\train\\1.png"), id="COCO of another machine"),
        pytest.param("annotations/instances_train.json", coco_of("1.png", "2.png"), id="COCO of a split"),
        pytest.param("c.xml", CVAT_IMAGE, id="CVAT"),
        pytest.param("train/1.json", LABELME, id="LabelMe beside the image that is gone"),
        pytest.param("json/train/1.json", LABELME.replace("1.png", "../../images/train/1.png"), id="LabelMe elsewhere"),
        pytest.param("labels/train/1.txt", "0 0.1 0.1 0.4 0.1 0.4 0.4\n", id="YOLO"),
    ],
)
def test_an_annotation_whose_image_is_gone_is_not_given_to_its_namesake(root, add_image, file, content):
    for name in ("images/train/2.png", "images/val/1.png") if "/" in file else ("train/2.png", "val/1.png"):
        add_image(name)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(content)
    (root / "data.yaml").write_text("names: [healthy]\n")
    found = Found(root)
    assert not [image for image in found.images if image.endswith("val/1.png")]
    assert any(file.rpartition("/")[2] in message for message in found.messages)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_file_of_a_split_is_of_its_folder(root, add_image, split):
    for name in ("train/1.png", "val/1.png"):
        add_image(name)
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / f"instances_{split}.json").write_text(coco_of("1.png"))
    found = Found(root)
    assert (found.images, found.messages) == ([f"{split}/1.png"], [])


@pytest.mark.parametrize(
    "names",
    [
        ("/x/a.png", "/y/a.png"),
        ("x/a.png", "y/a.png"),
        ("../x/a.png", "y/a.png"),
        ("a.png", "./a.png"),
        ("a.jpg", "a.bmp"),
    ],
)
def test_two_paths_that_may_be_one_image_are_of_none(root, add_image, describe, names):
    add_image("a.png")
    describe("result.json", *names)
    found = Found(root)
    assert found.images == []
    assert all("a.png may be this or " in message and "give the whole names" in message for message in found.messages)
    assert len(found.messages) == 2


def test_a_path_that_is_there_comes_before_one_that_may_be_it(root, add_image, describe):
    add_image("x/a.png")
    describe("result.json", "y/a.png", "x/a.png")
    found = Found(root)
    assert found.images == ["x/a.png"]
    (message,) = found.messages
    assert "image 'y/a.png': is neither at" in message


@pytest.mark.parametrize(
    "exports",
    [
        pytest.param([("a.jpg", "a.png")], id="in one file"),
        pytest.param([("a.jpg",), ("a.png",)], id="in two files"),
        pytest.param([("a.png",), ("a.jpg",)], id="in two files, the other way round"),
    ],
)
def test_an_image_of_another_suffix_that_is_gone_is_not_mistaken_for_one_that_is_there(
    root, add_image, describe, exports
):
    add_image("a.png")
    for number, names in enumerate(exports):
        describe(f"{number}.json", *names)
    found = Found(root)
    assert found.images == ["a.png"]
    assert "a.png" in (root / found.files["a.png"]).read_text(encoding="utf-8")
    assert found.objects() == {"a.png": [("healthy", 88)]}
    (message,) = found.messages
    assert "image 'a.jpg': is neither at" in message


@pytest.mark.parametrize("file", ["c.json", "annotations.xml"])
@pytest.mark.parametrize(
    ("named", "taken"),
    [
        pytest.param("a 1.jpg", True, id="another suffix"),
        pytest.param("field/a%201.png", True, id="as in a web address"),
        pytest.param("https://host/4/a%201.png?sig=3&x=a.png", True, id="a web address with a signature"),
        pytest.param("data/local-files/?d=a 1.png", True, id="Label Studio, a local file"),
        pytest.param("images/3f2a1b4c-a 1.png", True, id="Label Studio, an upload"),
        pytest.param("20260704-a 1.png", False, id="a date"),
        pytest.param("A 1.png", False, id="other capitals"),
    ],
)
def test_an_image_of_another_name_is_taken_with_a_warning(root, add_image, describe, file, named, taken):
    add_image("images/a 1.png")
    describe(file, named)
    found = Found(root)
    assert found.images == ["images/a 1.png"] * taken
    (message,) = found.messages
    text = f"{named} (images/a 1.png): there is no image of that name, so the one in brackets is taken"
    assert (text if taken else f"image {named!r}: is neither at") in message


@pytest.mark.parametrize("file", ["a.json", "json/a.json", "c.json", "annotations.xml"])
@pytest.mark.parametrize("name", ["a.gif", "images/a.HEIC", "a"])
def test_an_image_of_a_kind_that_is_not_read_is_not_said_to_be_gone(root, annotate, describe, file, name):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"GIF89a")
    annotate(file, name, "healthy") if file.endswith("a.json") else describe(file, name)
    messages = Found(root).messages
    reason = f"is {root / name}, of a kind that is not read; save it as JPEG or PNG"
    assert messages[-1] == f"error: {root / file}: image {Path(name).name if 'a.json' in file else name!r}: {reason}"


@pytest.mark.parametrize("file", ["json/a.json", "c.json", "annotations.xml"])
@pytest.mark.parametrize("name", ["img_1.png", "images/IMG_1.PNG", "x/Img_1.jpg", "IMG_1"])
def test_an_image_in_other_capitals_is_named(root, add_image, annotate, describe, file, name):
    add_image("images/Img_1.png" if name != "x/Img_1.jpg" else "images/iMG_1.png")
    (root / "json").mkdir()
    describe(file, name) if "/" not in file else annotate(file, name, "healthy", tool="darwin")
    found = Found(root)
    assert found.images == []
    (message,) = found.messages
    assert "; put the image there, or rename " in message and message.endswith("_1.png, which differs in capitals")


def test_an_image_of_the_same_capitals_elsewhere_does_not_differ_in_them(root, add_image, annotate):
    add_image("1/images/a.png")
    add_image("2/images/a.png")
    add_image("2/images/b.png")
    (root / "1/labels").mkdir()
    annotate("1/labels/a.json", "b.png", "healthy")
    assert "capitals" not in "".join(Found(root).messages)


@pytest.mark.parametrize("name", ["a.png ", " s/a.png", " a.png"])
def test_blanks_at_the_ends_may_be_of_the_file_alone(root, add_image, describe, name):
    add_image(name.strip())
    describe("annotations.xml", name)
    assert Found(root).images == [name.strip()]


@pytest.mark.parametrize("is_unpacked", [False, True])
def test_an_archive_that_is_not_unpacked_is_named(root, add_image, describe, is_unpacked):
    add_image("images/a.png")
    path = describe("annotations.xml", "a.png")
    with zipfile.ZipFile(root / "export.zip", "w") as package:
        package.write(path, "annotations.xml")
    if not is_unpacked:
        path.unlink()
    warning = (
        f"warning: {root / 'export.zip'}: is an archive, which is not read; unpack it into a folder, and convert that"
    )
    assert Found(root).messages == ([] if is_unpacked else [warning])


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"item": {"path": "/f/g", "name": "a.png"}, "annotations": []}, "images/f/g/a.png"),
        ({"image": {"path": "/f/g", "filename": "a.png"}, "annotations": []}, "images/f/g/a.png"),
        ({"imagePath": "..\\images\\f\\g\\a.png", "shapes": []}, "images/f/g/a.png"),
        ({"item": {"path": "/", "name": "a.png"}, "annotations": []}, "images/a.png"),
        ({"item": {"path": "/", "name": "item 5", "slots": [{}]}, "annotations": []}, "images/a.png"),
        ({"imagePath": "a.png", "shapes": []}, "images/a.png"),
        ({"imagePath": "D:\\f\\g\\a.png", "shapes": []}, "images/a.png"),
        ({"imagePath": "/home/anna/f/g/a.png", "shapes": []}, "images/a.png"),
    ],
)
def test_of_images_that_share_a_name_the_one_that_a_file_of_a_release_names_is_meant(root, add_image, content, taken):
    """A release keeps all annotations in one folder; which folder the image is in stands in them."""
    for name in ("images/a.png", "images/f/g/a.png"):
        add_image(name)
    (root / "annotations").mkdir()
    (root / "annotations/a.json").write_text(json.dumps(content), encoding="utf-8")
    assert Found(root).files == {taken: "annotations/a.json"}


@pytest.mark.parametrize("tool", ["labelme", "darwin"])
def test_an_image_of_another_suffix_is_none_where_single_files_name_them(root, add_image, annotate, tool):
    add_image("images/a.png")
    annotate("json/1.json", "a.jpg", "ä b", tool=tool)
    annotate("json/2.json", "a.png", "healthy", tool=tool)
    found = Found(root)
    assert found.objects() == {"images/a.png": [("healthy", 88)]}
    assert "1.json: image 'a.jpg': is neither at" in found.messages[0]


@pytest.mark.parametrize("tool", ["labelme", "darwin"])
def test_files_of_a_release_that_share_a_stem_are_of_the_images_that_they_name(root, add_image, annotate, tool):
    for name in ("images/a.png", "images/a.jpg"):
        add_image(name)
    annotate("annotations/a.json", "a.jpg", "healthy", tool=tool)
    annotate("annotations/a-1.json", "a.png", "ä b", tool=tool)
    assert Found(root).objects() == {"images/a.jpg": [("healthy", 88)], "images/a.png": [("ä b", 88)]}


EXPORTS = {
    "2nd without objects": (("healthy",), (), ["healthy"], "annotated in .*1.json already"),
    "1st without objects": ((), ("healthy",), ["healthy"], ""),
    "both without objects": ((), (), [], ""),
    "the same": (("healthy", "ä b"), ("ä b", "healthy"), ["healthy", "ä b"], "annotated in .*1.json already"),
    "other labels": (
        ("healthy",),
        ("ä b",),
        None,
        "image 'images/a.png': has other objects in .*1.json; leave",
    ),
    "more objects": (("healthy",), ("healthy", "ä b"), None, "has other objects"),
    "fewer objects": (("healthy", "ä b"), ("healthy",), None, "has other objects"),
}


def test_a_correction_in_the_same_box_is_no_copy(root, add_image):
    add_image("a.png")
    (root / "1.json").write_text(coco_of("a.png"))
    (root / "2.json").write_text(coco_of("a.png").replace("[[2, 3, 12, 3, 12, 13, 2, 13]]", "[[2, 3, 12, 3, 2, 13]]"))
    with pytest.raises(AnnotationError, match="has other objects in"):
        Found(root).objects()


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("tool", ["darwin", "supervisely"])
def test_what_several_exports_hold_of_an_image_is_joined_or_refused(root, add_image, annotate, kind, tool):
    first, second, labels, message = EXPORTS[kind]
    add_image("images/a.png")
    (root / "annotations").mkdir()
    (root / "json").mkdir()
    annotate("annotations/a.json", "a.png", *first, tool="darwin").rename(root / "annotations/1.json")
    annotate("json/2.json", "a.png", *second, tool=tool)
    if tool == "supervisely":
        path = root / "json/2.json"
        content = {"imageName": "a.png", "annotation": json.loads(path.read_text(encoding="utf-8"))}
        path.write_text(json.dumps(content), encoding="utf-8")
    found = Found(root)
    if labels is None:
        with pytest.raises(AnnotationError, match=message):
            found.objects()
    else:
        assert [label for label, _ in found.objects()["images/a.png"]] == labels
        assert re.search(message, "".join(found.messages))


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("image", ["photos/a.png", "a.png"])
@pytest.mark.parametrize("tool", ["labelme", "cvat"])
def test_two_files_in_other_folders_than_the_image_that_both_name_are_joined_or_refused(
    root, add_image, annotate, kind, image, tool
):
    first, second, labels, message = EXPORTS[kind]
    add_image(image)
    suffix = "xml" if tool == "cvat" else "json"
    for place, some in (("backup/1", first), ("labels/2", second)):
        path = annotate(f"{place}.{suffix}", "a.png", *some, tool=tool)
    found = Found(root)
    assert not any("is neither at" in text for text in found.messages)
    if labels is None:
        with pytest.raises(AnnotationError, match="has other objects in .*; leave the file that counts") as error:
            found.objects()
        assert all(str(one) in str(error.value) for one in (root / f"backup/1.{suffix}", path, f"image {image!r}"))
    else:
        assert [label for label, _ in found.objects()[image]] == labels
        assert re.search(message.replace("json", suffix), "".join(found.messages))


def test_of_three_exports_the_one_with_objects_counts(root, add_image, describe):
    add_image("a.png")
    for number in "12":
        describe(f"{number}.xml", "a.png")
    text = re.sub(r"<(polygon|mask).*?/\1>", "", (root / "1.xml").read_text(encoding="utf-8"), flags=re.DOTALL)
    (root / "1.xml").write_text(text, encoding="utf-8")
    (root / "0.xml").write_text(text, encoding="utf-8")
    assert Found(root).objects() == {"a.png": [("healthy", 88)]}


@pytest.mark.parametrize("place", ["a.json", "a.png.json", "a.xml", "annotations/a.json", "ann/a.png.json"])
def test_an_export_that_bears_the_name_of_an_image_is_read_for_all(root, add_image, describe, place):
    folder = {"annotations": "images/", "ann": "img/"}.get(place.partition("/")[0], "")
    for name in ("a.png", "b.png"):
        add_image(f"{folder}{name}")
    describe(place, "a.png", "b.png")
    found = Found(root)
    assert found.messages == []
    assert found.objects() == {f"{folder}{name}": [("healthy", 88)] for name in ("a.png", "b.png")}


def test_an_item_of_several_slots_beside_one_of_its_images_is_read_for_all(root, add_image, annotate):
    for name in ("a.png", "b.png"):
        add_image(name)
    in_slots(annotate("a.json", "a.png", "healthy", "ä b", tool="darwin"))
    assert Found(root).objects() == {"a.png": [("healthy", 88)], "b.png": [("ä b", 88)]}


def in_slots(path: Path, folder: str = "/") -> None:
    """Makes an item of two slots of a Darwin file, one an object."""
    content = json.loads(path.read_text(encoding="utf-8"))
    (slot,) = content["item"]["slots"]
    slots = [
        {**slot, "slot_name": str(n), "source_files": [{"file_name": f"{name}.png"}]} for n, name in enumerate("ab")
    ]
    content["item"] = {"name": "item 1", "path": folder, "slots": slots}
    content["annotations"][1]["slot_names"] = [1]
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("place", ["images/f/item 1/{}/{}", "f/{1}", "{1}"])
def test_an_item_of_several_slots_is_several_images(root, add_image, annotate, place):
    for slot, name in enumerate(("a.png", "b.png")):
        add_image(place.format(slot, name))
    in_slots(annotate("annotations/item 1.json", "a.png", "healthy", "ä b", tool="darwin"), "/f")
    found = Found(root)
    assert found.messages == []
    assert sorted(found.objects().values()) == [[("healthy", 88)], [("ä b", 88)]]
    assert [source.read(source.image).warnings for source in found.sources] == [(), ()]


def test_annotations_in_a_tree_of_the_same_folders_are_of_the_images_there(root, add_image, annotate):
    for folder in ("1", "2"):
        add_image(f"photos/{folder}/a.png")
        annotate(f"json/{folder}/a.json", "a.png", "healthy" if folder == "1" else "ä b")
    add_image("photos/3/b.png")
    annotate("json/3/a.json", "a.png", "healthy")  # whose image is gone
    found = Found(root)
    assert found.objects() == {"photos/1/a.png": [("healthy", 88)], "photos/2/a.png": [("ä b", 88)]}
    assert [message.partition(": image")[0] for message in found.messages] == [f"error: {root / 'json/3/a.json'}"]
