"""Folders of images with annotations, and the command as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import FORMATS, Annotation, Instance, Part
from active_learning.annotations.coco import CocoWriter
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.conversion.command import main

HEIGHT, WIDTH = 30, 40
SQUARE = np.array([[2.0, 3], [12, 3], [12, 13], [2, 13]])
HOLE = np.array([[5.0, 6], [9, 6], [9, 10], [5, 10]])
CLASSES = ["healthy", "ä b"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "in put"
    folder.mkdir()
    return folder


@pytest.fixture
def add_image(root: Path) -> Callable[..., Path]:
    """Adds an image of its own content; `orientation` is its EXIF orientation."""

    def add(name: str, orientation: int = 1) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        tags = Image.Exif()
        tags[0x0112] = orientation
        Image.fromarray(pixels).save(path, **({"exif": tags} if orientation > 1 else {}))
        return path

    return add


def ring(label: str = "healthy", score: float | None = None) -> Instance:
    """A square of 100 pixels with a hole of 16, and a second part of 4."""
    more = Part(np.array([[20.0, 3], [22, 3], [22, 5], [20, 5]]))
    return Instance(label, (Part(SQUARE, (HOLE,)), more), None, score)


@pytest.fixture
def annotate(root: Path) -> Callable[..., Path]:
    """Writes an annotation of a tool, with one ring a label given."""

    def write(place: str, image: str, *labels: str, tool: str = "labelme") -> Path:
        path = root / place
        FORMATS[tool].codec.write(Annotation(image, HEIGHT, WIDTH, tuple(map(ring, labels))), path)
        return path

    return write


@pytest.fixture
def describe(root: Path) -> Callable[..., Path]:
    """Writes a file of several images with a ring each: of COCO, or of 'CVAT for images' where its name ends so."""

    def write(place: str, *images: str) -> Path:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        coco, cvat = CocoWriter(CLASSES), CvatImagesWriter(CLASSES)
        for image in images:
            for writer in (coco, cvat):
                writer.add(Annotation(image, HEIGHT, WIDTH, (ring(),)))
        path.write_text(cvat.text(path) if place.endswith(".xml") else coco.text(), encoding="utf-8")
        return path

    return write


@dataclass(frozen=True)
class Outcome:
    code: int
    messages: str
    summary: str


@pytest.fixture
def convert(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Converts the folder to <tmp_path>/out (out.json for coco), or to what `out` names."""

    def run(tool: str, *options: str, out: str | None = None) -> Outcome:
        target = tmp_path / (out or ("out.json" if tool == "coco" else "out"))
        arguments = ["convert", str(root), "--to", tool, "--classes", *CLASSES, "--out", str(target), *options]
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(str(stop.code))
        captured = capsys.readouterr()
        return Outcome(code, captured.err, captured.out)

    return run
