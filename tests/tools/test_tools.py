"""The real annotation tools open what we write: `make test-tools` installs them and runs this.

A tool runs in an environment of its own, below .venv-tools; its opener fills the objects that the tool found, by the
tool's own means. Tools also paint the pixels under an outline, so the objects here are hundreds of pixels wide.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import Annotation, Bitmap, Instance, Part, cvat, darwin, labelme, supervisely
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.conversion.exports import CocoMasks, make_export

OPENERS = Path(__file__).parent / "openers"
ENVIRONMENTS = Path(__file__).parents[2] / ".venv-tools"
HEIGHT, WIDTH = 900, 1200
NAME = "pflanze \u00e4 1.png"

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Tool:
    """How a tool opens what we write. `write` fills a folder and returns the opener's arguments for it."""

    environment: str
    opener: str
    write: Callable[[Annotation, Path], list[str]]


def _labelme(annotation: Annotation, folder: Path) -> list[str]:
    labelme.write(annotation, folder / f"{Path(NAME).stem}.json", max_polygon_error=0.5)
    _image(folder)
    return [str(folder / f"{Path(NAME).stem}.json")]


def _darwin(annotation: Annotation, folder: Path) -> list[str]:
    darwin.write(annotation, folder / "a.json", max_polygon_error=0.5)
    return [str(folder / "a.json")]


def _cvat(annotation: Annotation, folder: Path) -> list[str]:
    subset = folder / "default"
    _image(subset)
    cvat.write(annotation, subset / f"{Path(NAME).stem}.xml", max_polygon_error=0.5)
    return ["label_me", str(folder)]


def _cvat_images(annotation: Annotation, folder: Path) -> list[str]:
    _image(folder / "images")
    writer = CvatImagesWriter(sorted({one.label for one in annotation.instances}), max_polygon_error=0.5)
    writer.add(annotation)
    file = folder / "annotations.xml"
    file.write_text(writer.text(file), encoding="utf-8")
    return ["cvat", str(folder)]


def _supervisely(annotation: Annotation, folder: Path) -> list[str]:
    write_meta(folder / "meta.json", sorted({one.label for one in annotation.instances} | {"unused"}))
    _image(folder / "ds" / "img")
    supervisely.write(annotation, folder / "ds" / "ann" / f"{NAME}.json")
    return [str(folder)]


def _ultralytics(annotation: Annotation, folder: Path) -> list[str]:
    return [str(_exported("yolo", annotation, folder) / "data.yaml")]


def _coco(masks: CocoMasks | None) -> Callable[[Annotation, Path], list[str]]:
    return lambda annotation, folder: [str(_exported("coco", annotation, folder, masks))]


def _exported(tool: str, annotation: Annotation, folder: Path, masks: CocoMasks | None = None) -> Path:
    _image(folder / "images of a person")
    image, out = folder / "images of a person" / NAME, folder / "out"
    classes = sorted({one.label for one in annotation.instances} | {"unused"})
    export = make_export(tool, out, {NAME: image}, classes, 0.5, masks)
    assert export.add(annotation, NAME, image) == 0
    export.finish()
    return out


def _image(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(folder / NAME)


TOOLS = {
    "labelme": Tool("main", "labelme_file.py", _labelme),
    "darwin-py": Tool("main", "darwin_file.py", _darwin),
    "CVAT's reader of LabelMe 3.0": Tool("labelme30", "datumaro_folder.py", _cvat),
    "CVAT for images 1.1": Tool("main", "datumaro_folder.py", _cvat_images),
    "supervisely": Tool("supervisely", "supervisely_project.py", _supervisely),
    "ultralytics": Tool("ultralytics", "ultralytics_data.py", _ultralytics),
    "pycocotools": Tool("main", "coco_file.py", _coco(None)),
    "pycocotools, polygons": Tool("main", "coco_file.py", _coco("polygons")),
    "pycocotools, run lengths": Tool("main", "coco_file.py", _coco("rle")),
}


def _ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return (np.array([x, y]) + np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=1)).round(2)


def _bitmap() -> Bitmap:
    """A blob with a hole and a satellite, as networks give them."""
    canvas = np.zeros((300, 340), np.uint8)
    cv2.ellipse(canvas, (150, 150), (140, 120), 20, 0, 360, 1, -1)
    cv2.circle(canvas, (150, 150), 45, 0, -1)
    cv2.circle(canvas, (312, 30), 25, 1, -1)
    return Bitmap(820, 20, canvas.astype(bool))


CASES = {
    "one of each": (
        Instance("healthy", (Part(_ellipse(150, 150, 120, 110)),), score=0.9),
        Instance("damaged", (Part(_ellipse(400, 150, 90, 110)), Part(_ellipse(620, 150, 100, 90))), score=0.25),
        Instance("sch\u00e4dling", (Part(_ellipse(200, 550, 180, 190), (_ellipse(200, 550, 80, 90),)),)),
        Instance("matured", (), _bitmap(), 0.5),
    ),
    "alike, in parts": (
        Instance("healthy", (Part(_ellipse(150, 150, 120, 110)), Part(_ellipse(150, 500, 120, 130)))),
        Instance("healthy", (Part(_ellipse(450, 150, 120, 110)), Part(_ellipse(450, 500, 120, 130)))),
        Instance("healthy", (Part(_ellipse(800, 300, 150, 190)),)),
    ),
    "over the border": (Instance("healthy", (Part(_ellipse(0, 450, 300, 250)),)),),
    "overlapping parts": (
        Instance("healthy", (Part(_ellipse(400, 400, 250, 150)), Part(_ellipse(600, 450, 250, 150)))),
    ),
    "no objects": (),
}


def python_of(tool: Tool) -> Path:
    """The interpreter of the tool's environment; skips where it is not installed."""
    folder = ENVIRONMENTS / tool.environment
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        pytest.skip(f"{tool.environment} is not installed; `make test-tools` does that")
    return python


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_opens_what_we_write(name, case, tmp_path):
    tool = TOOLS[name]
    python = python_of(tool)
    annotation = Annotation(NAME, HEIGHT, WIDTH, CASES[case])
    folder, out = tmp_path / "data", tmp_path / "found.npz"
    folder.mkdir()
    arguments = tool.write(annotation, folder)
    command = [str(python), str(OPENERS / tool.opener), *arguments, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = np.load(out)
    labels = found["labels"].tolist()
    assert sorted(labels) == sorted(one.label for one in annotation.instances)
    pending = list(range(len(labels)))
    for instance in annotation.instances:
        ours = instance_mask(instance, HEIGHT, WIDTH)
        alike = [index for index in pending if labels[index] == instance.label]
        best = max(alike, key=lambda index: iou(ours, found["masks"][index]))
        assert iou(ours, found["masks"][best]) >= 0.98
        pending.remove(best)
