"""The meta.json of Supervisely projects."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest

from active_learning.annotations.annotation import Annotation, Instance
from active_learning.annotations.supervisely_meta import Meta, check_meta, read_meta, write_meta
from active_learning.errors import AnnotationError


def test_written_meta_reads_back_and_holds_masks(tmp_path):
    path = tmp_path / "project" / "meta.json"
    write_meta(path, ["healthy", "Möhre", "x"])
    meta = read_meta(path)
    assert meta == Meta(path, {"healthy": "bitmap", "Möhre": "bitmap", "x": "bitmap"}, {"confidence": "any_number"})
    assert meta.has_scores
    check_meta(meta, ["Möhre", "healthy"])
    colours = [one["color"] for one in json.loads(path.read_text(encoding="utf-8"))["classes"]]
    assert len(set(colours)) == 3
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)


def test_all_classes_that_do_not_fit_are_named(tmp_path):
    meta = Meta(tmp_path / "meta.json", {"healthy": "polygon", "damaged": "any", "matured": "rectangle"}, {})
    with pytest.raises(AnnotationError) as caught:
        check_meta(meta, ["healthy", "damaged", "matred", "matured", "zzz"])
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{tmp_path / 'meta.json'}: class ") for line in lines)
    assert [line.split(": ", 1)[1] for line in lines] == [
        "class 'healthy' has the shape 'polygon', which cannot hold a mask; "
        "convert it to 'any' or 'bitmap' in Supervisely",
        "class 'matred' is not in the project (did you mean 'matured'?); add it in Supervisely",
        "class 'matured' has the shape 'rectangle', which cannot hold a mask; "
        "convert it to 'any' or 'bitmap' in Supervisely",
        "class 'zzz' is not in the project (healthy, damaged, matured); add it in Supervisely",
    ]
    assert not meta.has_scores


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("tags", [{}, {"confidence": "any_number"}])
def test_labels_are_written_as_the_project_spells_them(tmp_path, forms, tags):
    title, name = (unicodedata.normalize(form, "Möhre") for form in forms)
    meta = Meta(tmp_path / "meta.json", {"x": "bitmap", title: "bitmap"}, tags)
    check_meta(meta, [name])
    fitted = meta.fitted(Annotation("a.png", 3, 4, (Instance(name, score=0.5),)))
    assert [(one.label, one.score) for one in fitted.instances] == [(title, 0.5 if tags else None)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param([], "is not the meta.json", id="list"),
        pytest.param({"classes": {}}, "is not the meta.json", id="classes no list"),
        pytest.param(
            {"classes": [{"title": "a"}]}, r"classes\[0\]: must have the texts title and shape", id="no shape"
        ),
        pytest.param({"classes": [3]}, r"classes\[0\]: must have", id="class a number"),
        pytest.param({"classes": [], "tags": [{"name": "a"}]}, "tags: ", id="tag without type"),
    ],
)
def test_what_is_no_meta(tmp_path, content, reason):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_meta(path)
    assert str(caught.value).startswith(str(path))


def test_old_tags_are_passed_over(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"classes": [], "tags": ["occluded"]}), encoding="utf-8")
    assert read_meta(path) == Meta(path, {}, {})
