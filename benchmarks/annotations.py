"""How long does a COCO json of 10,000 LabelMe files with 5 objects each take? Goal: within 10 s on one core."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import write_coco_json
from active_learning.dataset.image_folder import take_snapshot

IMAGES, OBJECTS, HEIGHT, WIDTH = 10_000, 5, 480, 640


def make_folder(folder: Path) -> None:
    """One small JPEG under many names, each with a LabelMe file of OBJECTS 20-point polygons."""
    rng = np.random.default_rng(0)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(folder / "first.jpg")
    picture = (folder / "first.jpg").read_bytes()
    (folder / "first.jpg").unlink()
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for index in range(IMAGES):
        (folder / f"{index:05d}.jpg").write_bytes(picture)
        shapes = []
        for _ in range(OBJECTS):
            centre, radius = rng.uniform((80, 80), (WIDTH - 80, HEIGHT - 80)), rng.uniform(20, 60)
            points = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2).tolist()
            shapes.append({"label": "head", "points": points, "shape_type": "polygon", "group_id": None, "flags": {}})
        document: dict[str, object] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{index:05d}.jpg",
            "imageData": None,
        }
        text = json.dumps({**document, "imageHeight": HEIGHT, "imageWidth": WIDTH})
        (folder / f"{index:05d}.json").write_text(text, encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        make_folder(folder)
        started = time.perf_counter()
        snapshot = take_snapshot(folder)
        listed = time.perf_counter()
        annotations = AnnotationCache(folder, ["head"])
        summary = write_coco_json(annotations, snapshot.images, Path(place) / "train.json", snapshot)
        done = time.perf_counter()
        write_coco_json(annotations, snapshot.images, Path(place) / "train.json", snapshot)
        again = time.perf_counter()
    assert summary.objects == {"head": IMAGES * OBJECTS}
    print("## LabelMe files to COCO json\n")
    print("| images | objects | finding images, s | writing json, s | together, s | goal, s | again, unchanged, s |")
    print("|---|---|---|---|---|---|---|")
    times = f"{listed - started:.1f} | {done - listed:.1f} | {done - started:.1f}"
    print(f"| {IMAGES} | {IMAGES * OBJECTS} | {times} | 10 | {again - done:.1f} |\n")


if __name__ == "__main__":
    main()
