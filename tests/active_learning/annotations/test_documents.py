"""Files that are no annotation, and formats recognised by their content."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotations import (
    FORMATS,
    Annotation,
    Instance,
    Part,
    image_named_in,
    mask_files_of,
    read_annotation,
)
from active_learning.annotations.documents import parse_document, read_content, write_json
from active_learning.errors import AnnotationError, ManyImagesError

GOOD = {"shapes": [], "imagePath": "sub\\ä.jpg", "imageData": None, "imageHeight": 3, "imageWidth": 4}


def read(path: Path):
    return read_annotation(path, image="a.jpg", size=(3, 4))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\x00" * 500, "is empty", id="zeros after a power cut"),
        pytest.param(json.dumps(GOOD).encode()[:40], "line 1, column .*half-written", id="half-written"),
        pytest.param(b'{"label": "\xe4"}', "not UTF-8", id="latin-1"),
        pytest.param(b"[" * 100_000, "no annotation", id="nested endlessly"),
        pytest.param(b"[1, 2]", "a json list", id="list"),
        pytest.param(b"7", "no annotation", id="number"),
        pytest.param(b"{}", "fields are none", id="no fields"),
        pytest.param(b'{"foo": 1}', "fields are 'foo'", id="foreign"),
        pytest.param(b'{"images": [], "annotations": [], "categories": []}', "COCO", id="coco"),
        pytest.param(b'{"images": [], "annotations": [{"segments_info": []}]}', "COCO panoptic", id="panoptic"),
        pytest.param(b'{"images": [], "annotations": [{"caption": "x"}]}', "COCO .* captions", id="captions"),
        pytest.param(b'{"annotation": {"objects": []}}', "Supervisely", id="supervisely api"),
        pytest.param(b'{"classes": [], "tags": []}', "meta.json", id="supervisely meta"),
        pytest.param(b'{"_via_settings": {}}', "VGG", id="via"),
        pytest.param(b'{"a.png1": {"regions": []}, "b.png2": {"regions": {}}}', "VGG", id="via, annotations alone"),
        pytest.param(b'{"items": [], "categories": {}}', "Datumaro", id="datumaro"),
        pytest.param(b'{"metadata": {}, "instances": []}', "SuperAnnotate", id="superannotate"),
        pytest.param(b'{"images": [], "label_classes": []}', "Hasty", id="hasty"),
        pytest.param(b'{"a.png": {"annotations": []}}', "annotations of many images", id="by the names of images"),
        pytest.param(b'<?xml version="1.0"?><annotation/>', "LabelMe 3.0", id="cvat xml"),
        pytest.param(b"\xef\xbb\xbf <annotations>", "CVAT for images", id="cvat images xml"),
        pytest.param(b"<html>", "an xml file", id="other xml"),
        pytest.param(b'{"shapes": {}}', "shapes: must be a list", id="shapes no list"),
    ],
)
def test_other_files_are_named_as_what_they_are(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_samples_of_another_tool_are_refused_by_name(shared_dir):
    with pytest.raises(AnnotationError, match="Supervisely"):
        read(shared_dir / "formats" / "supervisely" / "meta.json")


@pytest.mark.parametrize(
    ("file", "objects"),
    [
        ("labelme/potato_001.json", 5),
        ("darwin/potato_001.json", 5),
        ("supervisely/ds1/ann/potato_001.png.json", 5),
        ("cvat/labelme30_cvat/default/potato_002.xml", 0),
    ],
)
def test_formats_are_recognised_by_their_content(shared_dir, tmp_path, file, objects):
    copy = tmp_path / "any name.json"
    copy.write_bytes((shared_dir / "formats" / file).read_bytes())
    assert len(read_annotation(copy, image="any name.png", size=(120, 160)).instances) == objects


@pytest.mark.parametrize(
    "file",
    [
        "labelme/potato_001.json",
        "darwin/potato_001.json",
        "supervisely/ds1/ann/potato_001.png.json",
        "cvat/labelme30_cvat/default/potato_001.xml",
    ],
)
def test_a_parsed_document_gives_all_that_its_file_gives(shared_dir, file):
    path = shared_dir / "formats" / file
    document = parse_document(read_content(path), path)
    assert image_named_in(path, document) == image_named_in(path)
    assert mask_files_of(path, document=document) == mask_files_of(path)
    by_document = read_annotation(path, image="a.png", size=None, document=document)
    by_file = read_annotation(path, image="a.png", size=None)
    assert [one.origin for one in by_document.instances] == [one.origin for one in by_file.instances] != []
    assert by_document.warnings == by_file.warnings


@pytest.mark.parametrize("kind", ["{}", "<annotations><image/></annotations>"])
def test_what_names_no_image(tmp_path, kind):
    path = tmp_path / "a"
    document = parse_document(kind.encode(), path)
    with pytest.raises(AnnotationError, match=f"{path}: is ") as caught:
        image_named_in(path, document)
    is_export = kind != "{}"
    assert isinstance(caught.value, ManyImagesError) is is_export
    assert str(caught.value).endswith("; formats read here: labelme, cvat, darwin, supervisely") is not is_export
    assert mask_files_of(path, document=document) == {}


SHAPE = '{"label": "a", "points": [[0, 0], [3, 0], [3, 3]]}'


@pytest.mark.parametrize(
    ("content", "field"),
    [
        pytest.param(f'{{"shapes": [{SHAPE}], "imagePath": "a.jpg", "shapes": []}}', "shapes", id="LabelMe"),
        pytest.param(f'{{"shapes": [{SHAPE[:-1]}, "points": []}}]}}', "points", id="points"),
        pytest.param('{"size": {}, "objects": [1], "objects": []}', "objects", id="Supervisely"),
        pytest.param('{"item": {}, "annotations": [1], "annotations": []}', "annotations", id="Darwin"),
        pytest.param('{"images": [1], "annotations": [1], "images": []}', "images", id="COCO"),
        pytest.param(f'{{"shapes": [{SHAPE}], "shapes": [{SHAPE}]}}', "", id="the same twice"),
        pytest.param(f'{{"shapes": [{SHAPE}], "flags": 1, "flags": 2}}', "", id="a field of no objects"),
    ],
)
def test_a_field_of_objects_that_stands_twice_hides_none(tmp_path, content, field):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    if field:
        with pytest.raises(AnnotationError, match=f"a.json: .* has the field '{field}' twice, with other values"):
            read(path)
    else:
        assert len(read(path).instances) == 1


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda text: text.encode(), id="utf-8"),
        pytest.param(lambda text: text.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(lambda text: text.encode("utf-16"), id="utf-16"),
    ],
)
def test_encodings(tmp_path, encode):
    path = tmp_path / "ä b.json"
    path.write_bytes(encode(json.dumps(GOOD, ensure_ascii=False)))
    assert read(path).instances == ()
    assert image_named_in(path) == "sub/ä.jpg"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "a.json"
    {"pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "folder": path.mkdir}[kind]()
    with pytest.raises(AnnotationError, match=r"a\.json: is no regular file; remove it"):
        read_content(path)


@pytest.mark.parametrize("name", ["a.json", "a.xml"])
def test_a_pointer_of_git_lfs_is_named_with_its_remedy(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match="is a pointer of Git LFS to the file; fetch that with: git lfs pull"):
        read(tmp_path / name)


def test_a_file_far_too_large_is_not_loaded(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as stream:
        stream.truncate(2**29 + 1)  # takes no room on the disk
    with pytest.raises(AnnotationError, match="has 536870913 bytes"):
        read(path)


def test_lone_surrogates_are_written_and_read_back(tmp_path):
    path, document = tmp_path / "a.json", {**GOOD, "\ud800": ["caf\u00e9 \udfff\ud83d", "\U0001f954"]}
    write_json(path, document)
    assert json.loads(path.read_bytes()) == document
    assert "caf\u00e9" in path.read_text(encoding="utf-8")


def test_what_is_nested_too_deep_is_not_written(tmp_path):
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    path = tmp_path / "a.json"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(AnnotationError, match="nested too deep"):
        write_json(path, {"kept": deep})
    assert path.read_text(encoding="utf-8") == "before"


@pytest.mark.parametrize("tool", FORMATS)
def test_labels_with_a_lone_surrogate_are_written(tool, tmp_path):
    square = np.array([[1.0, 1], [9, 1], [9, 9], [1, 9]])
    annotation = Annotation("a.jpg", 20, 20, (Instance("\ud800x", (Part(square),)),))
    try:
        FORMATS[tool].codec.write(annotation, tmp_path / "a.json")
    except AnnotationError as fault:  # xml has no place for it
        assert "ud800" in str(fault)
    else:
        assert read_annotation(tmp_path / "a.json", image="a.jpg", size=(20, 20)).instances[0].label == "\ud800x"


@pytest.mark.parametrize("size", [(3, 4), [3, 4], np.array([3, 4]), None], ids=["tuple", "list", "array", "none"])
def test_paths_as_texts_and_sizes_of_any_kind(tmp_path: Path, size):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    annotation = read_annotation(str(path), image="a.jpg", size=size, within=str(tmp_path))
    assert (annotation.height, annotation.width, annotation.warnings[1:]) == (3, 4, ())


@pytest.mark.parametrize("size", [(3, 4, 3), (3,), (0, 4), (3, -4), (3.0, 4.0), "3x4", 3, (None, None)])
def test_a_size_that_is_none(tmp_path: Path, size):
    with pytest.raises(ValueError, match=r"size must be \(height, width\) of the image in whole pixels, or None, not"):
        read_annotation(tmp_path / "a.json", image="a.jpg", size=size)


def test_a_file_of_many_images_is_named_with_its_remedy(tmp_path: Path):
    path = tmp_path / "all.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}', encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"all\.json: is a COCO json file; turn it into a file .* convert$"):
        read_annotation(path, image="a.jpg", size=None)
