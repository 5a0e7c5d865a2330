"""How long does `--check` take on 10,000 images with 9,000 annotations? Goal: within 15 s and 500 MB."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SPLITS = {"train": (9_000, 8_000), "val": (500, 500), "test": (500, 500)}  # images, annotations
OBJECTS, HEIGHT, WIDTH = 5, 480, 640
NETWORK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def make_project(folder: Path) -> None:
    """JPEG files of noise, of which no two are the same, with LabelMe files of OBJECTS 20-point polygons."""
    rng = np.random.default_rng(0)
    for split, (images, annotated) in SPLITS.items():
        (folder / split).mkdir(parents=True)
        for index in range(images):
            name = folder / split / f"{index:05d}.jpg"
            pixels = rng.integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
            Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(name)
            if index < annotated:
                write_annotation(name, rng)
    settings: dict[str, object] = {f"{split}dir": split for split in SPLITS}
    settings |= {
        "classes": ["head"],
        "network_config": NETWORK,
        "pretrained_weights": "",
        "cuda_visible_devices": "cpu",
    }
    (folder / "maskAL.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def write_annotation(image: Path, rng: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shapes = []
    for _ in range(OBJECTS):
        points = rng.uniform((80, 80), (WIDTH - 80, HEIGHT - 80)) + rng.uniform(20, 60) * circle
        shapes.append({"label": "head", "points": points.round(2).tolist(), "shape_type": "polygon"})
    document: dict[str, object] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image.name,
        "imageData": None,
    }
    text = json.dumps({**document, "imageHeight": HEIGHT, "imageWidth": WIDTH})
    image.with_suffix(".json").write_text(text, encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        make_project(Path(place))
        started = time.perf_counter()
        command = [sys.executable, str(ROOT / "maskAL.py"), "--config", "maskAL.yaml", "--check"]
        done = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
    assert "are in order" in done.stdout, done.stdout + done.stderr
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("## --check\n")
    print("| images | annotations | seconds | CPU, s | goal, s | memory, MB | goal, MB |")
    print("|---|---|---|---|---|---|---|")
    images, annotated = (sum(column) for column in zip(*SPLITS.values(), strict=True))
    figures = f"{seconds:.1f} | {used.ru_utime + used.ru_stime:.1f} | 15 | {used.ru_maxrss / 1024:.0f} | 500"
    print(f"| {images} | {annotated} | {figures} |\n")


if __name__ == "__main__":
    main()
