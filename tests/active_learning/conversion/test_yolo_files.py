"""YOLO data sets, in the layouts of the tools that write them: read by the command, and written for Ultralytics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from active_learning.annotations import labelme, load_document
from active_learning.annotations.annotation import Annotation, Instance, Part
from active_learning.annotations.contours import instance_mask
from active_learning.conversion.command import main
from active_learning.conversion.report import Report
from active_learning.conversion.sources import find_sources, names_in_data_set
from active_learning.errors import AnnotationError

HEIGHT, WIDTH = 30, 40
DATA = "names: [healthy, ä b]\n"
SQUARE = "0.1 0.1 0.35 0.1 0.35 0.4333333 0.1 0.4333333"  # 100 pixels
TRIANGLE = "0.1 0.1 0.6 0.1 0.1 0.6"
ROW = f"0 {TRIANGLE}\n"
BOX = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def write(root, add_image):
    """Writes files; images get their own content."""

    def write_files(files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            if name.endswith((".jpg", ".png")):
                add_image(name)
                continue
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write_files


class Found:
    """The sources of a folder: labels by image, and what was reported."""

    def __init__(self, root: Path, **options: bool) -> None:
        self.messages: list[str] = []
        sources, self.bare = find_sources(root, Report(self.messages.append), **options)
        self.names = sorted(names_in_data_set(sources, root).values())
        self.labels = {one.image: [each.label for each in one.read(one.image).instances] for one in sources}


LAYOUTS = {
    "Ultralytics": (
        {
            "data.yaml": "path: heads\ntrain: images/train\nval: images/val\nnames: {0: healthy, 1: ä b}\n",
            "images/train/a.jpg": "", "labels/train/a.txt": ROW, "images/val/b.jpg": "", "labels/val/b.txt": ROW,
            "labels/train.cache": "",
        },
        ["train/a.jpg", "val/b.jpg"],
    ),
    "Ultralytics, a folder deeper": (
        {"sets/heads.yaml": DATA, "sets/heads/images/train/a.jpg": "", "sets/heads/labels/train/a.txt": ROW},
        ["sets/heads/train/a.jpg"],
    ),
    "Ultralytics, the yaml elsewhere": (
        {"cfg/heads.yaml": DATA, "heads/images/a.jpg": "", "heads/labels/a.txt": ROW},
        ["heads/a.jpg"],
    ),
    "Roboflow": (
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['healthy', 'ä b']\n",
            "README.dataset.txt": "# heads\n",
            "train/labels/notes.txt": "", "valid/labels/README.txt": "ask Ann\n", "README.roboflow.txt": "heads - v1\n",
            "train/images/a_jpg.rf.1f.jpg": "", "train/labels/a_jpg.rf.1f.txt": ROW,
            "valid/images/b.jpg": "", "valid/labels/b.txt": ROW, "test/images/c.jpg": "", "test/labels/c.txt": ROW,
        },
        ["test/c.jpg", "train/a_jpg.rf.1f.jpg", "valid/b.jpg"],
    ),
    "CVAT": (
        {
            "data.yaml": "names:\n  0: healthy\n  1: ä b\npath: .\ntrain: train.txt\n",
            "train.txt": "data/images/train/s/a.jpg\n", "images/train/s/a.jpg": "", "labels/train/s/a.txt": ROW,
        },
        ["train/s/a.jpg"],
    ),
    "Darknet": (
        {
            "obj.names": "healthy\nä b\n", "obj.data": "classes = 2\nnames = data/obj.names\n",
            "train.txt": "data/obj_train_data/a.jpg\n", "obj_train_data/a.jpg": "", "obj_train_data/a.txt": ROW,
        },
        ["obj_train_data/a.jpg"],
    ),
    "Label Studio": (
        {"classes.txt": "healthy\nä b\n", "images/a.jpg": "", "labels/a.txt": ROW},
        ["a.jpg"],
    ),
    "beside the images": ({"classes.txt": "healthy\nä b\n", "a.jpg": "", "a.txt": ROW}, ["a.jpg"]),
    "beside, in a folder images": ({"data.yaml": DATA, "images/a.jpg": "", "images/a.txt": ROW}, ["images/a.jpg"]),
    "labels without their images": (
        {"export/data.yaml": DATA, "export/labels/train/a.txt": ROW, "field/a.jpg": "", "field/b.a.jpg": ""},
        ["field/a.jpg"],
    ),
    "names in several files": (
        {"data.yaml": DATA, "labels/classes.txt": "healthy\r\na\u0308 b\r\n", "images/a.jpg": "", "labels/a.txt": ROW},
        ["a.jpg"],
    ),
    "two data sets": (
        {
            "x/data.yaml": DATA, "x/images/a.jpg": "", "x/labels/a.txt": ROW,
            "y/data.yaml": "names: [ä b, healthy]\n", "y/images/a.jpg": "", "y/labels/a.txt": ROW.replace("0", "1", 1),
        },
        ["x/a.jpg", "y/a.jpg"],
    ),
    "an image called classes": (
        {
            "data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": ROW,
            "images/classes.jpg": "", "labels/classes.txt": ROW,
        },
        ["a.jpg", "classes.jpg"],
    ),
    "capitals of folders": (
        {"data.yaml": DATA, "train/Images/A.jpg": "", "train/Labels/a.txt": ROW},
        ["train/Images/A.jpg"],
    ),
    "capitals": ({"data.yaml": DATA, "images/a.jpg": "", "labels/a.TXT": ROW}, ["a.jpg"]),
    "decomposed accents": ({"data.yaml": DATA, "images/\u00e4.jpg": "", "labels/a\u0308.txt": ROW}, ["\u00e4.jpg"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(root, write, layout):
    files, names = LAYOUTS[layout]
    write(files)
    found = Found(root)
    assert found.messages == []
    assert found.names == names
    assert set(map(tuple, found.labels.values())) == {("healthy",)}


FAULTS = {
    "no names": ({"images/a.jpg": "", "labels/a.txt": ROW}, "labels/a.txt: no data.yaml says which class a number is"),
    "no names, many files": (
        {"a.jpg": "", "a.txt": ROW, "b.jpg": "", "b.txt": ROW},
        "a.txt and 1 more label files: no data.yaml says",
    ),
    "names contradict each other": (
        {"data.yaml": DATA, "labels/classes.txt": "ä b\nhealthy\n", "images/a.jpg": "", "labels/a.txt": ROW},
        "classes.txt and {root}/data.yaml: they have other names for the numbers of classes",
    ),
    "two data.yaml around": (
        {"data.yaml": DATA, "x/data.yaml": "names: [b]\n", "x/images/a.jpg": "", "x/labels/a.txt": ROW},
        "x/data.yaml and {root}/data.yaml: they have other names",
    ),
    "two data.yaml elsewhere": (
        {"x/data.yaml": DATA, "y/data.yaml": "names: [b]\n", "images/a.jpg": "", "labels/a.txt": ROW},
        "they have other names for the numbers of classes; leave one, or convert each data set alone",
    ),
    "damaged data.yaml": (
        {"data.yaml": "names: [a", "images/a.jpg": "", "labels/a.txt": ROW},
        "data.yaml: line 1: is no YAML",
    ),
    "keypoints": (
        {"data.yaml": f"{DATA}kpt_shape: [17, 3]\n", "images/a.jpg": "", "labels/a.txt": f"{BOX[:-1]} 0.1 0.1 2\n"},
        "kpt_shape: its objects are keypoints; masks are needed",
    ),
    "boxes": (
        {"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": BOX + BOX, "images/b.jpg": "", "labels/b.txt": ""},
        "labels/a.txt: line 1: is a box, as all objects of the data set (2); masks are needed: export polygons",
    ),
    "boxes with a confidence": (
        {"data.yaml": DATA, "a.jpg": "", "a.txt": BOX.replace("\n", " 0.9\n")},
        "a.txt: line 1: is a box, as all objects of the data set (1)",
    ),
    "tracks": (
        {"data.yaml": DATA, "a.jpg": "", "a.txt": ROW.replace("\n", " 0.9 1\n") + ROW.replace("\n", " 0.9 2\n")},
        "a.txt: line 1: ends in 0.9 1, which look like a confidence and the number of a track",
    ),
    "two images of one stem": (
        {"data.yaml": DATA, "images/a.jpg": "", "images/a.png": "", "labels/a.txt": ROW},
        "labels/a.txt: may be of images/a.jpg or images/a.png; rename one of them",
    ),
    "two images that may be meant": (
        {"data.yaml": DATA, "x/a.jpg": "", "y/a.jpg": "", "labels/a.txt": ROW},
        "labels/a.txt: may be of x/a.jpg or y/a.jpg; rename one of them",
    ),
    "an image that is gone": (
        {"data.yaml": DATA, "images/a.jpg": "", "labels/a.b.txt": ROW, "labels/c.txt": ROW},
        "labels/a.b.txt and 1 more label files: there is no such image below",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_data_set_is_one_error(root, write, fault):
    files, words = FAULTS[fault]
    write(files)
    found = Found(root)
    (message,) = found.messages
    assert message.startswith("error: ") and words.format(root=root) in message
    assert found.labels == {}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param(
            {"labels/a.txt": f"0 {SQUARE}\n1 {SQUARE}\n"},
            "all 2 objects of YOLO have four corners: if these are oriented boxes, the masks are boxes, too",
            id="oriented boxes, or outlines",
        ),
        pytest.param(
            {"labels/a.txt": ROW, "images/b.jpg": "", "images/c.jpg": ""},
            "images/b.jpg, images/c.jpg: without a label file of YOLO, so left out, as not annotated",
            id="images without a label file",
        ),
        pytest.param(
            {"labels/a.txt": ROW, "label/a.txt": ROW, "notes/a.txt": "a photograph of 3 plants\n", "x/c.txt": ROW},
            "label/a.txt: like label files of YOLO, which lie in a folder labels, or beside their images; left out",
            id="a folder of another name",
        ),
    ],
)  # fmt: skip
def test_what_a_person_should_know(root, write, files, words):
    write({"data.yaml": DATA, "images/a.jpg": "", **files})
    (message,) = Found(root).messages
    assert message.startswith("warning: ") and words in message


@pytest.mark.parametrize(
    ("second", "labels"),
    [
        pytest.param(ROW, ["healthy"], id="the same"),
        pytest.param("", ["healthy"], id="empty"),
        pytest.param(f"1 {TRIANGLE}\n", None, id="another class"),
        pytest.param(ROW + ROW, None, id="more objects"),
    ],
)
def test_two_label_files_of_one_image(root, write, convert, second, labels):
    write({"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": ROW, "images/a.txt": second})
    if labels:
        assert Found(root).labels == {"images/a.jpg": labels}
    else:
        outcome = convert("coco")
        assert outcome.code == 1
        assert f"image 'images/a.jpg': has other objects in {root / 'images/a.txt'}" in outcome.messages


NO_IMAGE = "there is no such image below"


@pytest.mark.parametrize(
    ("files", "taken", "words"),
    [
        (["images/a.jpg", "labels/1a2b3c4d-a.txt"], ["images/a.jpg"], "1a2b3c4d-a (images/a.jpg)"),
        (["a.jpg", "1a2b3c4d-a.txt"], ["a.jpg"], "1a2b3c4d-a (a.jpg)"),
        (["images/ä b.jpg", "labels/1a2b3c4d-%C3%A4%20b.txt"], ["images/ä b.jpg"], "(images/ä b.jpg)"),
        (
            ["images/train/a.jpg", "images/val/a.jpg", "labels/val/1a2b3c4d-a.txt"],
            ["images/val/a.jpg"],
            "1a2b3c4d-a (images/val/a.jpg)",
        ),
        (["images/1a2b3c4d-a.jpg", "images/a.jpg", "labels/1a2b3c4d-a.txt"], ["images/1a2b3c4d-a.jpg"], "a.jpg"),
        (["images/a.jpg", "labels/a.txt", "labels/1a2b3c4d-a.txt"], ["images/a.jpg"], NO_IMAGE),
        (["images/a.jpg", "labels/20240101-a.txt"], [], NO_IMAGE),
        (["images/b.jpg", "labels/1a2b3c4d-a.txt"], [], NO_IMAGE),
        (["b.jpg", "1a2b3c4d-a.txt"], [], ""),
        (["a.jpg", "a.txt", "1a2b3c4d-a.txt"], ["a.jpg"], "-a.txt: the image has a label file of its own name; left"),
    ],
)
def test_uploads_of_label_studio_are_of_the_images_that_they_were(root, write, files, taken, words):
    """It puts eight digits and letters before the name of a file that is uploaded; a date is none such."""
    write({"classes.txt": "healthy\nä b\n"} | {name: "" if name.endswith(".jpg") else ROW for name in files})
    found = Found(root)
    assert list(found.labels) == taken
    assert words in "".join(found.messages)


def test_two_uploads_of_one_image_that_differ_are_an_error(root, write):
    files = {"images/a.jpg": "", "labels/1a2b3c4d-a.txt": ROW, "labels/9a8b7c6d-a.txt": f"1 {TRIANGLE}\n"}
    write({"classes.txt": "healthy\nä b\n", **files})
    (source,) = find_sources(root, Report(print))[0]
    with pytest.raises(AnnotationError, match="has other objects in"):
        source.read(source.image)


def test_a_box_among_outlines_is_lost_with_its_line(root, write, convert):
    write({"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": f"{ROW}{BOX}{ROW}{BOX}"})
    outcome = convert("coco")
    warnings = outcome.messages.splitlines()
    assert (outcome.code, len(warnings)) == (0, 2)
    place = f"warning: {root / 'labels/a.txt'}: line"
    assert [text.partition(": class")[0] for text in warnings] == [f"{place} 2", f"{place} 4"]
    assert "2 objects: healthy 2, ä b 0" in outcome.summary


def test_an_image_that_loses_all_its_objects_is_an_error(root, write, convert):
    write({"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": BOX, "images/b.jpg": "", "labels/b.txt": ROW})
    outcome = convert("coco")
    assert outcome.code == 1
    assert f"{root / 'labels/a.txt'}: line 1: class '0': is a box" in outcome.messages
    assert "no object is left of images/a.jpg" in outcome.messages
    assert "1 image converted, 0 of them without objects" in outcome.summary


def test_unreadable_bytes_cost_their_image_alone(root, write, convert):
    write(
        {"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": b"\xff\xfe0", "images/b.jpg": "", "labels/b.txt": ROW}
    )
    outcome = convert("coco")
    assert outcome.code == 1
    assert outcome.messages == f"error: {root / 'labels/a.txt'}: byte 0 is not UTF-8 text; save the file as UTF-8\n"
    assert "1 image converted" in outcome.summary


@pytest.mark.parametrize(
    ("option", "images"), [((), 2), (("--empty-images", "keep"), 3), (("--empty-images", "leave"), 1)]
)
def test_empty_files_and_missing_ones(root, write, convert, option, images):
    """b has an empty file, c has none; d lies elsewhere, so it is no image of the data set."""
    files = {"images/a.jpg": "", "labels/a.txt": ROW, "images/b.jpg": "", "labels/b.txt": "", "images/c.jpg": ""}
    write({"data.yaml": DATA, **files, "more/d.jpg": ""})
    outcome = convert("coco", *option)
    assert outcome.code == 0
    assert (
        f"{images} image{'s' if images > 1 else ''} converted, {images - 1} of them without objects" in outcome.summary
    )


@pytest.mark.parametrize(
    "texts", [{"a.txt": "3 plants\n"}, {"a.txt": ""}, {"notes.txt": ROW}, {"a.txt": ROW}, {"labels/a.txt": ROW}]
)
def test_texts_beside_images_that_have_annotations_are_left_alone(root, write, annotate, texts):
    write({"a.png": "", **texts})
    annotate("a.json", "a.png", "ä b")
    found = Found(root)
    assert (found.messages, found.labels) == ([], {"a.png": ["ä b"]})


def test_an_annotation_beside_the_image_counts(root, write, annotate):
    files = {f"labels/{name}.txt": ROW for name in "abc"} | {f"images/{name}.png": "" for name in "abc"}
    write({"data.yaml": DATA, **files})
    for name in "ac":
        annotate(f"images/{name}.json", f"{name}.png", "ä b")
    found = Found(root)
    assert found.labels == {"images/a.png": ["ä b"], "images/b.png": ["healthy"], "images/c.png": ["ä b"]}
    (message,) = found.messages
    assert message.startswith(f"warning: {root / 'labels'}: images/a.png and 1 more images: annotated in ")


def test_links_out_of_the_folder_are_named(root, write, tmp_path):
    write({"data.yaml": DATA, "images/a.jpg": "", "labels/a.txt": ROW, "images/b.jpg": ""})
    (tmp_path / "b.txt").write_text(ROW)
    (root / "labels/b.txt").symlink_to(tmp_path / "b.txt")
    found = Found(root)
    assert found.labels == {"images/a.jpg": ["healthy"]}
    passed, bare = found.messages
    assert "labels/b.txt: passed over: a link out of the folder" in passed
    assert "images/b.jpg: without a label file of YOLO" in bare


@pytest.fixture
def field(root, add_image, annotate):
    """Images with annotations of LabelMe in the folders of the splits, as MaskAL keeps them."""
    for name in ("train/a.png", "train/s/a.png", "val/b.jpg", "test/c.png"):
        add_image(name)
        annotate(str(Path(name).with_suffix(".json")), Path(name).name, "healthy", "ä b")
    return root


def test_a_data_set_for_ultralytics(field, tmp_path, convert):
    outcome = convert("yolo")
    assert outcome.code == 0
    out = tmp_path / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "data.yaml",
        "images/test/c.png", "images/train/a.png", "images/train/s/a.png", "images/val/b.jpg",
        "labels/test/c.txt", "labels/train/a.txt", "labels/train/s/a.txt", "labels/val/b.txt",
    ]  # fmt: skip
    assert yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8")) == {
        "train": "images/train", "val": "images/val", "test": "images/test", "nc": 2,
        "names": {0: "healthy", 1: "ä b"},
    }  # fmt: skip
    assert outcome.messages == (
        f"warning: {out}: 8 objects in parts or with holes: YOLO has one outline an object, so lines without width "
        "join theirs; Ultralytics paints them a pixel wide\n"
    )
    found = Found(out)
    assert found.messages == []
    assert found.names == ["test/c.png", "train/a.png", "train/s/a.png", "val/b.jpg"]
    assert set(map(tuple, found.labels.values())) == {("healthy", "ä b")}


def test_images_without_splits(root, add_image, annotate, tmp_path, convert):
    add_image("a.png")
    annotate("a.json", "a.png")
    outcome = convert("yolo")
    assert outcome.code == 0
    data = tmp_path / "out/data.yaml"
    assert outcome.messages == (
        f"warning: {data}: train and val name the same images; give val images of its own before you trust its scores\n"
    )
    assert (data.parent / "labels/a.txt").read_text() == ""
    loaded = yaml.safe_load(data.read_text(encoding="utf-8"))
    assert (loaded["train"], loaded["val"]) == ("images", "images")


def test_kinds_of_images_that_ultralytics_does_not_read_become_png(root, add_image, annotate, tmp_path, convert):
    for name in ("a.ppm", "a.png", "b.tif"):
        add_image(name)
        annotate(f"{name}.json", name, "healthy")
    assert convert("yolo").code == 0
    names = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert names == ["a.png", "a.ppm.png", "a.ppm.txt", "a.txt", "b.tif", "b.txt", "data.yaml"]
    assert len(Found(tmp_path / "out").labels) == 3


def test_yolo_and_labelme_and_back(field, tmp_path, convert):
    assert convert("yolo").code == 0
    classes = ["--classes", "healthy", "ä b"]
    assert main(["convert", str(tmp_path / "out"), "--to", "labelme", *classes, "--out", str(tmp_path / "back")]) == 0
    for name in ("train/a", "val/b"):
        before, after = (
            labelme.read(load_document(path), path=path, image="x", size=(HEIGHT, WIDTH))
            for path in ((folder / f"{name}.json") for folder in (field, tmp_path / "back"))
        )
        masks = [[instance_mask(one, HEIGHT, WIDTH) for one in file.instances] for file in (before, after)]
        assert np.array_equal(*masks) and len(masks[0]) == 2
        assert [one.label for one in before.instances] == [one.label for one in after.instances]


def test_into_itself_each_image_stays_where_it_is(root, write, convert):
    write({"data.yaml": DATA, "train/images/a.jpg": "", "train/labels/a.txt": ROW})
    assert convert("labelme", out=root.name).code == 0
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "data.yaml", "train/images/a.jpg", "train/images/a.json", "train/labels/a.txt",
    ]  # fmt: skip


def test_objects_too_small_for_the_format_are_counted(root, add_image, convert):
    add_image("a.png")
    shapes = [
        {"label": "healthy", "shape_type": "polygon", "points": [[2, 2], [2 + side, 2], [2 + side, 2 + side]]}
        for side in (10, 0.004)
    ]
    fields = {"imagePath": "a.png", "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (root / "a.json").write_text(json.dumps({"shapes": shapes, **fields}), encoding="utf-8")
    outcome = convert("yolo")
    assert outcome.code == 0 and "1 object too small for yolo, left out" in outcome.messages
    (root / "a.json").write_text(json.dumps({"shapes": shapes[1:], **fields}), encoding="utf-8")
    outcome = convert("yolo", out="again")
    assert outcome.code == 1 and "a.png: all its objects are too small for YOLO" in outcome.messages


MASKS = {
    None: (dict, list, list),
    "polygons": (list, list, list),
    "rle": (dict, dict, dict),
}


@pytest.mark.parametrize("option", MASKS)
def test_coco_masks_of_one_kind(root, add_image, tmp_path, convert, option):
    """A ring, a triangle and an object in two parts, the same pixels in each kind."""
    add_image("a.png")
    square = np.array([[2.0, 3], [12, 3], [12, 13], [2, 13]])
    hole, part = np.array([[5.0, 6], [9, 6], [9, 10], [5, 10]]), np.array([[20.0, 3], [32, 3], [20, 25]])
    shapes = (Part(square, (hole,)),), (Part(part),), (Part(square + 12), Part(part))
    annotation = Annotation("a.png", HEIGHT, WIDTH, tuple(Instance("healthy", one) for one in shapes))
    labelme.write(annotation, root / "a.json")
    assert convert("coco", *(["--coco-masks", option] if option else [])).code == 0
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    regions = [one["segmentation"] for one in document["annotations"]]
    assert tuple(map(type, regions)) == MASKS[option]
    assert [one["iscrowd"] for one in document["annotations"]] == [0, 0, 0]
    (root / "a.json").unlink()
    (root / "x.json").write_text(json.dumps(document), encoding="utf-8")
    (source,), _ = find_sources(root, Report(print))
    found = source.read("a.png")
    for one, other in zip(annotation.instances, found.instances, strict=True):
        assert np.array_equal(instance_mask(one, HEIGHT, WIDTH), instance_mask(other, HEIGHT, WIDTH))


def test_an_object_that_covers_no_pixel_has_no_run_lengths(root, add_image, tmp_path, convert):
    add_image("a.png")
    big, speck = (np.array([[2.6, 2.6], [2.6 + side, 2.6], [2.6 + side, 2.6 + side]]) for side in (10, 0.5))
    instances = tuple(Instance("healthy", (Part(one),)) for one in (big, speck))
    labelme.write(Annotation("a.png", HEIGHT, WIDTH, instances), root / "a.json")
    outcome = convert("coco", "--coco-masks", "rle")
    assert "1 object too small for coco, left out" in outcome.messages
    assert len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["annotations"]) == 1
    labelme.write(Annotation("a.png", HEIGHT, WIDTH, instances[1:]), root / "a.json")
    outcome = convert("coco", "--coco-masks", "rle", out="2.json")
    assert outcome.code == 1 and "all its objects are too small for masks" in outcome.messages


def test_coco_masks_go_with_coco(field, convert):
    outcome = convert("yolo", "--coco-masks", "rle")
    assert outcome.code == 2 and "--coco-masks: goes with --to coco alone" in outcome.messages
