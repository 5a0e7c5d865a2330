from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotating.pre_labels import ExportFormat, PreLabelFolder, export_format
from active_learning.annotations import FORMATS, Annotation, Bitmap, Instance, read_annotation
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.errors import AnnotationError, MaskALError
from active_learning.settings import Settings

FILES = {name: f"{'a.png' if tool.named_after_image else 'a'}{tool.suffix}" for name, tool in FORMATS.items()}


def ring() -> Instance:
    mask = np.ones((12, 14), bool)
    mask[4:8, 5:9] = False
    return Instance("healthy", bitmap=Bitmap(3, 2, mask), score=0.75)


def export(name: str, meta_json: Path, **keys: object) -> ExportFormat:
    settings = Settings(**{"classes": ["healthy"], **keys}, export_format=name, supervisely_meta_json=meta_json)
    return export_format(settings, settings.classes)


@pytest.fixture
def meta_json(tmp_path):
    write_meta(tmp_path / "meta.json", ["healthy", "damaged"])
    return tmp_path / "meta.json"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("instances", [(), (ring(), ring())], ids=["nothing", "two"])
def test_what_is_predicted_is_read_again(train, add_image, meta_json, name, instances):
    add_image("sub/a.png")
    files = PreLabelFolder(train, export(name, meta_json, max_polygon_error=0.5))
    path = files.write(Annotation("sub/a.png", 30, 40, instances))
    assert path == train / "sub" / FILES[name]
    found = read_annotation(path, image="sub/a.png", size=(30, 40))
    assert not found.warnings
    assert len(found.instances) == len(instances)
    for one in found.instances:
        assert np.array_equal(instance_mask(one, 30, 40), instance_mask(ring(), 30, 40))
    assert sorted(path.name for path in (train / "sub").iterdir()) == sorted(["a.png", FILES[name]])
    count = files.count
    assert (count.images, count.objects, count.without_detections) == (1, len(instances), int(not instances))


@pytest.mark.parametrize("name", FORMATS)
def test_scores_are_kept(train, add_image, meta_json, name):
    add_image("a.png")
    path = PreLabelFolder(train, export(name, meta_json)).write(Annotation("a.png", 30, 40, (ring(),)))
    assert read_annotation(path, image="a.png", size=(30, 40)).instances[0].score == pytest.approx(0.75)


def test_a_project_without_the_score_tag_gets_none(train, add_image, tmp_path):
    add_image("a.png")
    meta = {"classes": [{"title": "healthy", "shape": "any", "color": "#000000"}], "tags": []}
    (tmp_path / "m.json").write_text(json.dumps(meta), encoding="utf-8")
    files = PreLabelFolder(train, export("supervisely", tmp_path / "m.json"))
    path = files.write(Annotation("a.png", 30, 40, (ring(),)))
    assert json.loads(path.read_text(encoding="utf-8"))["objects"][0]["tags"] == []


def test_a_class_that_the_project_lacks(meta_json):
    with pytest.raises(AnnotationError, match=r"meta\.json: class 'helthy' is not in the project"):
        export("supervisely", meta_json, classes=["helthy"])


def test_what_is_there_is_never_overwritten(train, add_image):
    add_image("a.png")
    (train / "a.json").write_text("a person's", encoding="utf-8")
    files = PreLabelFolder(train, ExportFormat(FORMATS["labelme"]))
    assert files.write(Annotation("a.png", 30, 40, (ring(),))) is None
    assert (train / "a.json").read_text(encoding="utf-8") == "a person's"
    assert sorted(path.name for path in train.iterdir()) == ["a.json", "a.png"]
    assert (files.count.images, files.count.left) == (0, 1)


def test_images_of_one_stem_get_a_file_each(train, add_image):
    files = PreLabelFolder(train, ExportFormat(FORMATS["labelme"]))
    for name in ("a.png", "a.jpg", "b.png"):
        add_image(name)
    written = [files.write(Annotation(name, 30, 40)).name for name in ("a.png", "a.jpg", "b.png")]
    assert written == ["a.png.json", "a.jpg.json", "b.json"]


def test_a_folder_that_cannot_be_written_to_is_named(train, add_image, monkeypatch):
    add_image("a.png")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ExportFormat, "write", refuse)
    with pytest.raises(MaskALError, match=r"a\.json: Permission denied; change its permissions"):
        PreLabelFolder(train, ExportFormat(FORMATS["labelme"])).write(Annotation("a.png", 30, 40))


@pytest.mark.parametrize("image", ["../a.png", "/a.png"])
def test_no_file_outside_of_the_folder(train, image):
    with pytest.raises(MaskALError, match="leads out of the image folder"):
        PreLabelFolder(train, ExportFormat(FORMATS["labelme"])).write(Annotation(image, 30, 40))


def test_a_folder_that_is_gone_is_made_again(train):
    path = PreLabelFolder(train, ExportFormat(FORMATS["labelme"])).write(Annotation("sub/a.png", 30, 40))
    assert path == train / "sub" / "a.json"
    assert path.is_file()
