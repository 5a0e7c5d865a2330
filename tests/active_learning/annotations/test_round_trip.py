"""What is written is read back alike: the same objects, each of its class and, within a hundredth, the same pixels.

Outlines cut at the border are written with 2 decimals, which can move a pixel's centre across: one pixel is forgiven.

Random images hold polygons with parts and holes, and masks, some of which overlap, touch or are cut by the border.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations import FORMATS, Annotation, Bitmap, Instance, Part, cvat_images, read_annotation
from active_learning.annotations.coco import CocoFile, CocoWriter
from active_learning.annotations.contours import instance_mask, outlines_bitmap
from active_learning.annotations.yolo import label_text, read_labels

HEIGHT, WIDTH = 90, 120
LABELS = ["healthy", "damaged", "ä b"]
Trip = Callable[[Annotation, Path], Annotation]


def ring_of(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    """A star-shaped outline with coordinates of 2 decimals, as tools write them."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 24)))
    radii = radius * rng.uniform(0.6, 1, len(angles))
    return (centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2)


def random_part(rng: np.random.Generator) -> Part:
    """One that is seen in the image: readers keep no others, so that writers meet no others."""
    centre, radius = rng.uniform((5, 5), (WIDTH - 5, HEIGHT - 5)), rng.uniform(8, 25)
    exterior = ring_of(rng, centre, radius)
    if not outlines_bitmap([exterior], HEIGHT, WIDTH).mask.any():
        return random_part(rng)
    return Part(exterior, (ring_of(rng, centre, 0.3 * radius),) if rng.random() < 0.4 else ())


def random_bitmap(rng: np.random.Generator) -> Bitmap:
    """Blobs, with holes and loose pixels."""
    height, width = rng.integers(4, 40, 2)
    field = np.kron(rng.random((height // 4 + 1, width // 4 + 1)), np.ones((4, 4)))[:height, :width]
    mask = (field + 0.2 * rng.random((height, width))) > 0.5
    mask[0, 0] = True
    return Bitmap(int(rng.integers(0, WIDTH - width)), int(rng.integers(0, HEIGHT - height)), mask)


def random_instance(rng: np.random.Generator) -> Instance:
    label = LABELS[rng.integers(len(LABELS))]
    score = round(float(rng.random()), 3) if rng.random() < 0.5 else None
    if rng.random() < 0.4:
        return Instance(label, (), random_bitmap(rng), score)
    return Instance(label, tuple(random_part(rng) for _ in range(rng.integers(1, 4))), None, score)


def visible(annotation: Annotation) -> list[tuple[str, np.ndarray]]:
    masks = [(one.label, instance_mask(one, HEIGHT, WIDTH)) for one in annotation.instances]
    return [(label, mask) for label, mask in masks if mask.any()]


def through_tool(tool: str) -> Trip:
    def trip(annotation: Annotation, folder: Path) -> Annotation:
        path = folder / f"a{FORMATS[tool].suffix}"
        FORMATS[tool].codec.write(annotation, path, max_polygon_error=0.5)
        return read_annotation(path, image=annotation.image, size=(HEIGHT, WIDTH), within=folder)

    return trip


def through_coco(annotation: Annotation, folder: Path) -> Annotation:
    writer = CocoWriter(LABELS)
    writer.add(annotation)
    return CocoFile(json.loads(writer.text()), folder / "a.json").read(annotation.image, size=(HEIGHT, WIDTH))


def through_cvat_images(annotation: Annotation, folder: Path) -> Annotation:
    path = folder / "annotations.xml"
    cvat_images.write(annotation, path, max_polygon_error=0.5)
    return read_annotation(path, image=annotation.image, size=(HEIGHT, WIDTH))


def through_yolo(annotation: Annotation, folder: Path) -> Annotation:
    path = folder / "a.txt"
    numbers = {label: number for number, label in enumerate(LABELS)}
    path.write_text(label_text(annotation, numbers, max_polygon_error=0.5).text, encoding="utf-8")
    return read_labels(path, dict(enumerate(LABELS)), image=annotation.image, size=(HEIGHT, WIDTH))


TRIPS = {
    **{tool: through_tool(tool) for tool in FORMATS},
    "coco": through_coco,
    "cvat images": through_cvat_images,
    "yolo": through_yolo,
}
WITHOUT_SCORES = ("cvat images", "yolo")


@pytest.mark.parametrize("name", TRIPS)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 6))
def test_objects_come_back(tmp_path_factory, name, seed, count):
    rng = np.random.default_rng(seed)
    annotation = Annotation("ä 1.png", HEIGHT, WIDTH, tuple(random_instance(rng) for _ in range(count)))
    before = visible(annotation)
    read = TRIPS[name](annotation, tmp_path_factory.mktemp("trip"))
    assert read.warnings == ()
    after = visible(read)
    assert [label for label, _ in after] == [label for label, _ in before]
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert (one ^ other).sum() <= max(1, 0.01 * (one | other).sum())


@pytest.mark.parametrize("other", TRIPS)
@pytest.mark.parametrize("name", ["yolo", "coco"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 4))
def test_objects_come_back_through_two_formats(tmp_path_factory, name, other, seed, count):
    """There and back again: name, other, name. Each may move a pixel's middle across an outline."""
    rng = np.random.default_rng(seed)
    annotation = Annotation("a.png", HEIGHT, WIDTH, tuple(random_instance(rng) for _ in range(count)))
    read = annotation
    for trip in (name, other, name):
        read = TRIPS[trip](read, tmp_path_factory.mktemp("trip"))
        assert read.warnings == ()
    before, after = visible(annotation), visible(read)
    assert [label for label, _ in after] == [label for label, _ in before]
    for (_, one), (_, other_mask) in zip(before, after, strict=True):
        assert (one ^ other_mask).sum() <= max(3, 0.02 * (one | other_mask).sum())


@pytest.mark.parametrize("name", TRIPS)
def test_scores_come_back(tmp_path, name):
    square = Part(np.array([[2.0, 2], [30, 2], [30, 30], [2, 30]]))
    annotation = Annotation("a.png", HEIGHT, WIDTH, (Instance("healthy", (square,), None, 0.875),))
    (instance,) = TRIPS[name](annotation, tmp_path).instances
    assert instance.score == (None if name in WITHOUT_SCORES else 0.875)


@pytest.mark.parametrize("name", TRIPS)
def test_equal_objects_in_one_place_stay_two(tmp_path, name):
    ring = Part(np.array([[2.0, 2], [30, 2], [30, 30], [2, 30]]), (np.array([[9.0, 9], [20, 9], [20, 20], [9, 20]]),))
    both = (ring, Part(np.array([[40.0, 2], [60, 2], [60, 30], [40, 30]])))
    annotation = Annotation("a.png", HEIGHT, WIDTH, (Instance("healthy", both), Instance("healthy", both)))
    read = TRIPS[name](annotation, tmp_path)
    assert [mask.sum() for _, mask in visible(read)] == [784 - 121 + 560] * 2
