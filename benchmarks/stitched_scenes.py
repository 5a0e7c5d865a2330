"""Large images, stitched from scenes of the demo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

from active_learning.annotations import Annotation, Instance, Part, labelme, read_annotation

ROOT = Path(__file__).resolve().parents[1]
HEAD = "head"
GREY = (104, 117, 124)  # the network's mean colour, which it takes for nothing


def draw_scenes(out: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Images of different scenes with LabelMe files beside them, drawn once."""
    folder = out / f"scenes_{size[0]}x{size[1]}"
    options = {
        "--out": folder,
        "--images": 1,
        "--val": 1,
        "--test": count,
        "--seed": 7,
        "--size": f"{size[0]}x{size[1]}",
    }
    words = [str(word) for option in options.items() for word in option]
    subprocess.run([sys.executable, str(ROOT / "demo" / "make_dataset.py"), *words], check=True)
    return sorted((folder / "test").glob("*.jpg"))


def stitch(scenes: Sequence[Path], columns: int, rows: int, target: Path, *, one_class: bool, gap: int = 0) -> int:
    """Writes an image of these scenes, which repeat where they are too few, and its annotation; returns its objects.

    Args:
        gap: pixels of grey to the right of each scene and below it.
    """
    pictures, instances = [], []
    for place in range(columns * rows):
        path = scenes[place % len(scenes)]
        picture = cv2.imread(str(path))
        assert picture is not None
        size = picture.shape[:2]
        picture = cv2.copyMakeBorder(picture, 0, gap, 0, gap, cv2.BORDER_CONSTANT, value=GREY)
        height, width = picture.shape[:2]
        pictures.append(picture)
        offset = np.array([place % columns * width, place // columns * height], dtype=np.float64)
        for one in read_annotation(path.with_suffix(".json"), image=path.name, size=size).instances:
            parts = tuple(Part(part.exterior + offset) for part in one.parts)
            instances.append(Instance(HEAD if one_class else one.label, parts))
    pixels = np.vstack([np.hstack(pictures[row * columns : (row + 1) * columns]) for row in range(rows)])
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".tif":
        tifffile.imwrite(target, pixels[..., ::-1], tile=(512, 512), compression="zlib", photometric="rgb")
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, 92] if target.suffix == ".jpg" else []
        target.write_bytes(cv2.imencode(target.suffix, pixels, options)[1].tobytes())
    height, width = pixels.shape[:2]
    labelme.write(Annotation(target.name, height, width, tuple(instances)), target.with_suffix(".json"))
    return len(instances)
