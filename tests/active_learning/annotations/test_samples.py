"""The files that the tools themselves have written, read as a user's are: each object as its annotator outlined it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_learning.annotations import Annotation, read_annotation
from active_learning.annotations.coco import CocoFile, CocoWriter
from active_learning.annotations.contours import instance_mask, trace_mask
from active_learning.annotations.cvat_images import CvatImagesWriter

FOLDERS = [
    "labelme",
    "darwin",
    "supervisely",
    "cvat/labelme30_cvat",
    "cvat/labelme30_datumaro",
    "cvat/images11_cvat",
    "cvat/images11_datumaro",
]


def images_of(folder: Path) -> Iterator[dict[str, Any]]:
    content = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert content["images"]
    yield from content["images"]


def check(annotation: Annotation, truth: dict[str, Any]) -> None:
    """Classes, areas, boxes, parts and holes are those that the tool's user has outlined."""
    assert (annotation.height, annotation.width) == (truth["height"], truth["width"])
    assert [one.label for one in annotation.instances] == [one["class"] for one in truth["objects"]]
    for instance, one in zip(annotation.instances, truth["objects"], strict=True):
        mask = instance_mask(instance, annotation.height, annotation.width)
        low, high = one["area_range"]
        assert low <= mask.sum() <= high
        assert abs(int(mask.sum()) - one["area_px"]) <= 0.01 * one["area_px"]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        x, y, width, height = one["bbox_xywh"]
        assert (np.abs(edges - [x, y, x + width, y + height]) <= one["bbox_tol"]).all()
        regions = trace_mask(mask, 0)
        assert (len(regions), sum(len(region.holes) for region in regions)) == (one["parts"], one["holes"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_sample_is_read_as_it_was_annotated(shared_dir, folder):
    place = shared_dir / "formats" / folder
    for truth in images_of(place):
        for size in ((truth["height"], truth["width"]), None):
            path = place / truth["annotation"]
            annotation = read_annotation(path, image=Path(truth["image"]).name, size=size, within=place)
            assert annotation.warnings == ()
            check(annotation, truth)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_sample_survives_the_files_of_many_images(shared_dir, tmp_path, folder):
    place = shared_dir / "formats" / folder
    for truth in images_of(place):
        annotation = read_annotation(place / truth["annotation"], image=Path(truth["image"]).name, size=None)
        classes = sorted({instance.label for instance in annotation.instances})
        coco, cvat = CocoWriter(classes), CvatImagesWriter(classes, max_polygon_error=0.5)
        for writer in (coco, cvat):
            writer.add(annotation)
        check(CocoFile(json.loads(coco.text()), tmp_path).read(annotation.image, size=None), truth)
        path = tmp_path / "annotations.xml"
        path.write_text(cvat.text(path), encoding="utf-8")
        check(read_annotation(path, image=annotation.image, size=None), truth)
