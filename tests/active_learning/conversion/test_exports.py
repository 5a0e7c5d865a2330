"""What is particular to a tool: the project of Supervisely and its pictures, the zip file for CVAT."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import contextmanager
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import Annotation, Instance, Part, read_annotation
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.conversion import exports
from active_learning.conversion.exports import make_export
from active_learning.errors import AnnotationError

SQUARE = Part(np.array([[2.0, 3], [12, 3], [12, 13], [2, 13]]))


def pixels(mode: str, height: int = 30, width: int = 40) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 250, (height, width, 4), np.uint8)
    if mode in ("I;16", "F"):
        return Image.fromarray(values[:, :, 0].astype(np.uint16 if mode == "I;16" else np.float32) * 200)
    if mode == "CMYK":
        return Image.fromarray(values, "CMYK")
    return Image.fromarray(values).convert(mode)


def test_the_zip_for_cvat_holds_images_1_1(root, add_image, annotate, tmp_path, convert):
    for name in ("a.png", "s/ä.jpg"):
        add_image(name)
        annotate(name.rpartition(".")[0] + ".json", name, "healthy", "ä b")
    assert convert("cvat").code == 0
    with zipfile.ZipFile(tmp_path / "out" / "cvat_images_1.1.zip") as package:
        assert package.namelist() == ["annotations.xml", "images/a.png", "images/s/ä.jpg"]
        package.extractall(tmp_path / "unpacked")
    assert (tmp_path / "unpacked/images/a.png").read_bytes() == (root / "a.png").read_bytes()
    xml = tmp_path / "unpacked" / "annotations.xml"
    assert [one.get("name") for one in ElementTree.fromstring(xml.read_bytes()).iter("image")] == ["a.png", "s/ä.jpg"]
    annotation = read_annotation(xml, image="s/ä.jpg", size=(30, 40))
    assert [one.label for one in annotation.instances] == ["healthy", "ä b"]


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        pytest.param({"helthy": "bitmap", "ä b": "bitmap"}, "class 'healthy' is not in the project", id="class"),
        pytest.param({"healthy": "polygon", "ä b": "any"}, "has the shape 'polygon'", id="shape"),
    ],
)
def test_a_project_that_does_not_know_the_classes(root, add_image, annotate, tmp_path, convert, shapes, reason):
    add_image("a.png")
    annotate("a.json", "a.png", "healthy")
    meta = {"classes": [{"title": name, "shape": shape, "color": "#FF0000"} for name, shape in shapes.items()]}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "meta.json").write_text(json.dumps({**meta, "tags": []}), encoding="utf-8")
    outcome = convert("supervisely")
    assert outcome.code == 2
    assert reason in outcome.messages
    assert "nothing was written" in outcome.messages
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["meta.json"]


def test_a_project_that_is_there_keeps_its_meta(root, add_image, annotate, tmp_path, convert):
    add_image("a.png")
    annotate("a.json", "a.png", "healthy")
    write_meta(tmp_path / "out" / "meta.json", ["healthy", "ä b", "more"])
    before = (tmp_path / "out" / "meta.json").read_bytes()
    assert convert("supervisely").code == 0
    assert (tmp_path / "out" / "meta.json").read_bytes() == before


@pytest.mark.parametrize("tool", ["supervisely", "yolo"])
def test_an_image_that_cannot_be_copied_leaves_no_annotation(root, add_image, annotate, tmp_path, convert, tool):
    file = add_image("a.jp2")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 4])
    annotate("a.json", "a.jp2", "healthy")
    outcome = convert(tool)
    assert outcome.code == 1
    assert [path for path in (tmp_path / "out").rglob("a*") if path.is_file()] == []
    file.write_bytes(content)
    assert convert(tool).code == 0


@pytest.mark.parametrize("has_tag", [True, False])
def test_scores_go_to_projects_that_have_their_tag(add_image, tmp_path, has_tag):
    out, file = tmp_path / "out", add_image("a.png")
    out.mkdir()
    meta = {"classes": [{"title": "healthy", "shape": "any", "color": "#FF0000"}], "tags": []}
    if has_tag:
        meta["tags"] = [{"name": "confidence", "value_type": "any_number"}]
    (out / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    export = make_export("supervisely", out, {"a.png": file}, ["healthy"], 1.0)
    export.add(Annotation("a.png", 30, 40, (Instance("healthy", (SQUARE,), None, 0.5),)), "a.png", file)
    (entry,) = json.loads((out / "ds0/ann/a.png.json").read_text(encoding="utf-8"))["objects"]
    assert bool(entry["tags"]) is has_tag
    assert entry["nnCreated"] is True


def test_a_damaged_meta_is_an_error(tmp_path):
    (tmp_path / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(AnnotationError, match="meta.json: line 1"):
        make_export("supervisely", tmp_path, {}, ["healthy"], 1.0)


@pytest.mark.parametrize(
    ("name", "mode", "read_as"),
    [
        pytest.param("a.tif", "RGB", "RGB", id="rgb"),
        pytest.param("a.tiff", "L", "L", id="grey"),
        pytest.param("a.TIF", "I;16", "I;16", id="16 bits"),
        pytest.param("a.tif", "CMYK", "RGB", id="cmyk"),
        pytest.param("a.ppm", "RGB", "RGB", id="portable pixmap"),
    ],
)
def test_pictures_that_supervisely_does_not_read_become_png(root, annotate, tmp_path, convert, name, mode, read_as):
    picture = pixels(mode)
    picture.save(root / name)
    annotate("a.json", name, "healthy")
    before = (root / name).read_bytes()
    assert convert("supervisely").code == 0
    with Image.open(tmp_path / "out/ds0/img/a.png") as copy:
        assert copy.format == "PNG"
        assert np.array_equal(np.asarray(copy), np.asarray(picture.convert(read_as) if mode == "CMYK" else picture))
    assert (root / name).read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("a.png*")) == ["a.png", "a.png.json"]


def test_converted_pictures_are_turned_by_their_exif(root, add_image, annotate, tmp_path, convert):
    add_image("a.tif", orientation=6)
    annotate("a.json", "a.tif", "healthy")
    assert convert("supervisely").code == 0
    with Image.open(tmp_path / "out/ds0/img/a.png") as copy:
        assert (copy.height, copy.width) == (40, 30)
        assert copy.getexif().get(0x0112, 1) == 1
    size = json.loads((tmp_path / "out/ds0/ann/a.png.json").read_text(encoding="utf-8"))["size"]
    assert size == {"height": 40, "width": 30}


def test_floats_which_png_does_not_hold_become_what_is_seen(root, annotate, tmp_path, convert):
    pixels("F").save(root / "a.tif")
    annotate("a.json", "a.tif", "healthy")
    assert convert("supervisely").code == 0
    with Image.open(tmp_path / "out/ds0/img/a.png") as copy:
        assert (copy.mode, copy.getextrema()) == ("L", (0, 255))


def test_an_image_that_is_older_than_zip_files_is_packed(add_image, annotate, tmp_path, convert):
    os.utime(add_image("a.png"), (0, 0))
    annotate("a.json", "a.png", "healthy")
    assert convert("cvat").code == 0
    with zipfile.ZipFile(tmp_path / "out" / "cvat_images_1.1.zip") as package:
        assert "images/a.png" in package.namelist()


def test_a_picture_that_cannot_be_decoded_is_an_error(root, annotate, tmp_path, convert):
    pixels("RGB").save(root / "a.tif")
    annotate("a.json", "a.tif", "healthy")
    (root / "a.tif").write_bytes((root / "a.tif").read_bytes()[:-900])
    outcome = convert("supervisely")
    assert outcome.code == 1
    assert "a.tif: cannot be read as an image" in outcome.messages
    assert not list(tmp_path.rglob("*.maskal-draft"))


SAVED_MEANWHILE = [
    ("labelme", "a.json"), ("labelme", "a.png"), ("darwin", "annotations/a.json"), ("cvat", "default/a.xml"),
    ("cvat", "cvat_images_1.1.zip"), ("supervisely", "ds0/ann/a.png.json"), ("supervisely", "ds0/img/a.png"),
    ("supervisely", "meta.json"), ("coco", ""),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "name"), SAVED_MEANWHILE)
def test_what_a_person_saves_while_it_converts_stays(
    root, add_image, annotate, tmp_path, convert, monkeypatch, tool, name
):
    """Just before the file gets its name."""
    add_image("a.png")
    annotate("a.json", "a.png", "healthy")
    path = tmp_path / "out" / name if name else tmp_path / "out.json"
    rename = exports.draft_of_new

    @contextmanager
    def save_meanwhile(target):
        with rename(target) as draft:
            yield draft
            if target == path:
                path.write_text("mine", encoding="utf-8")

    monkeypatch.setattr(exports, "draft_of_new", save_meanwhile)
    outcome = convert(tool)
    assert outcome.code == 1
    assert f"{path}: was saved by somebody meanwhile; it stays" in outcome.messages
    assert path.read_text(encoding="utf-8") == "mine"
