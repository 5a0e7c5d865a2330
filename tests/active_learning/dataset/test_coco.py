"""The COCO json file and the image lists."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from active_learning.annotations import Annotation, Instance, Part, labelme
from active_learning.annotations.png import encode_mask
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import content_digest, never_shown, write_coco_json, write_image_list
from active_learning.dataset.image_folder import find_images
from active_learning.errors import MaskALError, UnreadableImageError
from tests.work import calls_of

CLASSES = ["healthy", "damaged"]
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)


@pytest.fixture
def coco(tmp_path, train):
    """Writes the COCO json file of all images and returns it with its summary."""

    def write(**options):
        output = tmp_path / "data" / "train.json"
        summary = write_coco_json(AnnotationCache(train, CLASSES, **options), find_images(train), output)
        return json.loads(output.read_text(encoding="utf-8")), summary

    return write


def test_ids_names_and_sizes(add_image, annotate, coco):
    for name in ("b.png", "sub/ä c.png", "a.png"):
        add_image(name)
    annotate("a.json", ["damaged", "healthy", "damaged"])
    annotate("b.png.json", [])
    annotate("sub/ä c.json", ["damaged"])
    document, summary = coco()
    assert document["categories"] == [{"id": 1, "name": "healthy"}, {"id": 2, "name": "damaged"}]
    assert document["images"] == [
        {"id": 1, "file_name": "a.png", "height": 30, "width": 40},
        {"id": 2, "file_name": "b.png", "height": 30, "width": 40},
        {"id": 3, "file_name": "sub/ä c.png", "height": 30, "width": 40},
    ]
    assert [(one["id"], one["image_id"], one["category_id"]) for one in document["annotations"]] == [
        (1, 1, 2), (2, 1, 1), (3, 1, 2), (4, 3, 2),
    ]  # fmt: skip
    assert document["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "iscrowd": 0,
        "segmentation": [[2, 3, 12, 3, 12, 13, 2, 13]],
        "area": 100,
        "bbox": [2, 3, 10, 10],
    }
    assert (summary.images, summary.negatives, summary.bitmaps) == (3, 1, 0)
    assert summary.objects == {"healthy": 1, "damaged": 3}
    assert summary.images_with == {"healthy": 1, "damaged": 2}
    assert summary.warnings == ()


def test_sizes_are_those_of_the_rotated_image(train, annotate, coco):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(train / "a.jpg", exif=tags)
    annotate("a.json")
    document, summary = coco()
    assert (document["images"][0]["height"], document["images"][0]["width"]) == (40, 30)
    assert "EXIF" in summary.warnings[0]


def test_all_faulty_images_in_one_error(add_image, annotate, coco, train, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        add_image(name)
    annotate("a.json", ["helthy"])
    (train / "b.json").write_text("{", encoding="utf-8")
    annotate("d.json")
    (train / "d.png").write_bytes(b"x")
    with pytest.raises(MaskALError) as caught:
        coco()
    message = str(caught.value)
    assert "a.json: shapes[0]: label 'helthy'" in message
    assert "b.json: line 1" in message
    assert "c.png: there is no annotation" in message
    assert "d.png: is no image" in message
    assert not (tmp_path / "data").exists()


def test_unknown_labels_can_be_skipped(add_image, annotate, coco):
    for stem, labels in {"a": ["helthy", "healthy"], "b": ["helthy", "weed", "helthy"], "c": ["helthy"]}.items():
        add_image(f"{stem}.png")
        annotate(f"{stem}.json", labels, image=f"{stem}.png")
    document, summary = coco(unknown_labels="skip")
    assert len(document["annotations"]) == 1
    assert summary.warnings == (
        "label 'helthy' is not in classes (did you mean 'healthy'?): 4 objects left out, in a.png and 2 more images",
        "label 'weed' is not in classes (healthy, damaged): 1 object left out, in b.png",
    )


UNOPENED = {
    "Supervisely": ("a.png.json", '{"size": {"height": 30, "width": 40}, "tags": [], "objects": []}'),
    "Darwin": ("a.json", '{"item": {"name": "a.png", "slots": []}, "annotations": []}'),
    "CVAT": ("a.xml", "<annotation><filename>a.png</filename></annotation>"),
}


@pytest.mark.parametrize("tool", UNOPENED)
def test_images_of_an_export_that_nobody_may_have_opened_are_named(train, add_image, annotate, coco, tool):
    for name in ("a.png", "b.png", "c.png"):
        add_image(name)
    annotate("b.json", [], image="b.png")  # a person has saved this
    annotate("c.json", ["weed"], image="c.png")
    name, content = UNOPENED[tool]
    (train / name).write_text(content, encoding="utf-8")
    _, summary = coco(unknown_labels="skip")
    assert summary.negatives == 3
    assert summary.warnings[1:] == (
        "1 file of an annotation tool without objects (a.png): taken for images that hold none; where nobody has "
        "opened them yet, annotate them",
    )


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        pytest.param({"a": 1, "b": 2}, "", id="all are there"),
        pytest.param({"a": 0, "b": 0}, "", id="none: another message"),
        pytest.param({"a": 0}, "", id="one class"),
        pytest.param({"a": 1, "b": 0}, "no training image holds b: ", id="one is missing"),
        pytest.param({"a": 1, **dict.fromkeys("bcdefghijklm", 0)}, "j, k and 2 more classes: ", id="many"),
    ],
)
def test_classes_that_were_never_shown(objects, named):
    assert named in never_shown(objects)
    assert bool(never_shown(objects)) == bool(named)


def test_bitmaps_are_run_lengths_that_pycocotools_reads(add_image, annotate, coco, tmp_path):
    add_image("a.png")
    shape = {"label": "healthy", "points": [[5, 7], [11, 12]], "shape_type": "mask", "mask": encode_mask(RING)}
    annotate("a.json", shapes=[shape])
    document, summary = coco()
    (entry,) = document["annotations"]
    assert (entry["area"], entry["bbox"], summary.bitmaps) == (36, [5, 7, 7, 6], 1)
    reader = COCO(str(tmp_path / "data" / "train.json"))
    mask = reader.annToMask(reader.loadAnns([1])[0])
    assert mask.shape == (30, 40)
    assert (mask[7:13, 5:12] == RING).all()
    assert mask.sum() == 36


def test_reading_costs_no_torch_import(project_root):
    code = "import active_learning.dataset.coco, sys; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=project_root, check=False).returncode == 0


def test_work_grows_with_the_files_and_not_with_their_square(train, tmp_path):
    picture = Image.fromarray(np.zeros((30, 40, 3), np.uint8))
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    outline = 15 + 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    objects = (Instance("healthy", (Part(outline),)),) * 5
    work = []
    for count in (50, 200):
        folder = train / str(count)
        folder.mkdir()
        for number in range(count):
            picture.save(folder / f"{number}.jpg")
            labelme.write(Annotation(f"{number}.jpg", 30, 40, objects), folder / f"{number}.json")
        out = tmp_path / "train.json"
        work.append(calls_of(write_coco_json, AnnotationCache(folder, CLASSES), find_images(folder), out))
        assert len(json.loads(out.read_text(encoding="utf-8"))["annotations"]) == 5 * count
    assert work[1] < 6 * work[0]


def test_an_image_list_has_one_name_a_line(tmp_path):
    write_image_list(tmp_path / "train.txt", ["a b.jpg", "sub/ä.jpg", "z,1.png"])
    assert (tmp_path / "train.txt").read_bytes() == "a b.jpg\nsub/ä.jpg\nz,1.png\n".encode()


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "a\nb.jpg"])
def test_names_that_cannot_be_listed(tmp_path, name):
    with pytest.raises(MaskALError, match="image name"):
        write_image_list(tmp_path / "train.txt", [name])


def test_a_digest_of_what_is_measured_on(tmp_path, train, add_image, annotate, coco):
    image, file = add_image("sub/ä c.png"), tmp_path / "data" / "train.json"
    annotate("sub/ä c.json")
    coco()
    before, content = content_digest(file, train), image.read_bytes()
    add_image("of_no_annotation.png")
    assert content_digest(file, train) == before
    image.write_bytes(content + b"\0")
    assert content_digest(file, train) != before
    image.write_bytes(content)
    annotate("sub/ä c.json", ["damaged"])
    write_coco_json(AnnotationCache(train, CLASSES), ["sub/ä c.png"], file)
    assert content_digest(file, train) != before
    image.unlink()
    with pytest.raises(UnreadableImageError, match=r"ä c\.png: cannot be read as an image"):
        content_digest(file, train)
