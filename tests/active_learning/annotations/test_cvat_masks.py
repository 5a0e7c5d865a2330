"""The mask files of CVAT's LabelMe 3.0: which ones are read, and that none is overwritten."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.annotations import Annotation, Bitmap, Instance, cvat, mask_files_of, read_annotation
from active_learning.annotations.annotation import ShapeError
from active_learning.annotations.cvat_masks import encode_mask_file, find_mask, free_mask_name
from active_learning.errors import AnnotationError

SIZE = (80, 100)
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)  # 6x7 with a hole of 2x3


def read(path: Path, **options: Path) -> Annotation:
    return read_annotation(path, image="a.jpg", size=SIZE, **options)


def thing(region: str, number: int, deleted: str = "0") -> str:
    return f"<object><name>healthy</name><id>{number}</id><deleted>{deleted}</deleted>{region}</object>"


def segm(name: str) -> str:
    return f"<segm><mask>{name}</mask></segm>"


def save(path: Path, *objects: str, folder: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"<filename>a.jpg</filename><folder>{folder}</folder>"
    path.write_text(f"<annotation>{head}{''.join(objects)}</annotation>", encoding="utf-8")
    return path


def save_mask(file: Path, mask: np.ndarray = RING) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_mask_file(Bitmap(5, 7, mask), *SIZE))


def test_no_mask_lies_outside_the_image_folder(tmp_path):
    path = save(tmp_path / "train" / "a.xml", thing(segm("m.png"), 0), folder="train")
    save_mask(tmp_path / "Masks" / "m.png")
    assert len(read(path).instances) == 1
    with pytest.raises(AnnotationError, match=r"there is no mask 'm\.png'"):
        read(path, within=tmp_path / "train")
    assert mask_files_of(path, within=tmp_path) == {"m.png": tmp_path / "Masks" / "m.png"}
    assert mask_files_of(path, within=tmp_path / "train") == {"m.png": None}


def test_mask_files_are_those_of_objects_that_are_read(tmp_path):
    points = "<polygon><pt><x>1</x><y>1</y></pt></polygon>"
    entries = [
        thing(segm("a.png"), 0),
        thing(segm("b.png"), 1, deleted="1"),
        thing(points, 2),
        thing(segm("../c.png"), 3),
    ]
    path = save(tmp_path / "in" / "a.xml", *entries)
    for name in ("a.png", "b.png"):
        save_mask(tmp_path / "in" / "Masks" / name)
    assert mask_files_of(path) == {"a.png": tmp_path / "in" / "Masks" / "a.png", "../c.png": None}


def test_other_annotations_have_no_mask_files(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations/>", encoding="utf-8")
    assert mask_files_of(tmp_path / "a.xml") == mask_files_of(tmp_path / "none.json") == {}


@pytest.mark.parametrize("name", ["../m.png", "/m.png", "C:/m.png", "x" * 2000])
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(ShapeError, match="leads out of the folder Masks"):
        find_mask(name, tmp_path / "a.xml", "", None)


def test_masks_of_others_are_not_overwritten(tmp_path):
    ring = Annotation("a.jpg", *SIZE, (Instance("healthy", (), Bitmap(5, 7, RING)),))
    save_mask(tmp_path / "Masks" / "a_mask_0.png", np.ones((3, 3), dtype=bool))
    before = (tmp_path / "Masks" / "a_mask_0.png").read_bytes()
    for _ in range(2):
        cvat.write(ring, tmp_path / "a.xml")
    assert (tmp_path / "Masks" / "a_mask_0.png").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "Masks").iterdir()) == ["a_mask_0.png", "a_mask_0_2.png"]
    assert [one.bitmap.mask.sum() for one in read(tmp_path / "a.xml").instances] == [36]


def test_free_names(tmp_path):
    assert free_mask_name("s/a_mask_0", b"x", tmp_path) == "s/a_mask_0.png"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a_mask_0.png").write_bytes(b"x")
    assert free_mask_name("s/a_mask_0", b"x", tmp_path) == "s/a_mask_0.png"
    assert free_mask_name("s/a_mask_0", b"y", tmp_path) == "s/a_mask_0_2.png"


def test_mask_files_have_the_size_of_the_image():
    png = encode_mask_file(Bitmap(5, 7, RING), *SIZE)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (*SIZE, 4)
    assert (image.any(axis=2)[7:13, 5:12] == RING).all()
    assert image.any(axis=2).sum() == RING.sum()
