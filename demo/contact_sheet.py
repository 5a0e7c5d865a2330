"""The picture of the demo data for the README: a head of each class, some images, and the same with their outlines.

python demo/contact_sheet.py --out demo/pictures/dataset.jpg
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, `demo` is no package without this

from demo.heads import CLASSES  # noqa: E402
from demo.scene import Scene, draw_scene  # noqa: E402

SHEET_WIDTH = 1000
COLORS = {  # BGR
    "healthy": (255, 255, 255),
    "damaged": (80, 80, 255),
    "matured": (60, 220, 255),
    "cateye": (255, 120, 255),
    "headrot": (255, 170, 60),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the picture of the demo data for the README.")
    parser.add_argument("--out", type=Path, default=Path("demo/pictures/dataset.jpg"))
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args(arguments)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(given.out.suffix, contact_sheet(given.seed), [cv2.IMWRITE_JPEG_QUALITY, 85])
    given.out.write_bytes(encoded.tobytes())


def contact_sheet(seed: int) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    rng = np.random.default_rng(seed)
    dealt = [["healthy", "headrot", "damaged"], ["matured", "healthy"], ["cateye", "damaged"], ["healthy", "matured"]]
    scenes = [draw_scene(rng, labels, 240, 320) for labels in dealt]
    rows = [
        [_close_up(rng, label) for label in CLASSES],
        [scene.picture for scene in scenes],
        [outlined(scene) for scene in scenes],
    ]
    return np.vstack([_row(pictures) for pictures in rows])


def _row(pictures: list[np.ndarray]) -> np.ndarray:
    joined = np.hstack(pictures)
    height = round(joined.shape[0] * SHEET_WIDTH / joined.shape[1])
    return cv2.resize(joined, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA)


def _close_up(rng: np.random.Generator, label: str) -> np.ndarray:
    """A head that no leaf covers, filling the picture, with the name of its class."""
    while True:
        scene = draw_scene(rng, [label], 480, 480)
        outline = scene.heads[0].parts[0].astype(np.float32)
        filled = cv2.contourArea(outline) / cv2.contourArea(cv2.convexHull(outline))
        if filled > 0.88 and outline.min() > 20 and outline.max() < 460:
            break
    x0, y0, width, height = cv2.boundingRect(outline)
    half = int(0.72 * max(width, height))
    x, y = (int(np.clip(middle, half, 480 - half)) for middle in (x0 + width / 2, y0 + height / 2))
    picture = cv2.resize(scene.picture[y - half : y + half, x - half : x + half], (300, 300))
    cv2.rectangle(picture, (0, 264), (300, 300), (40, 40, 40), cv2.FILLED)
    return _named(picture, label, (10, 290), 0.8)


def outlined(scene: Scene) -> np.ndarray:
    """The picture with the outlines and class names of its annotation."""
    picture = scene.picture.copy()
    for head in scene.heads:
        for part in head.parts:
            points = np.round((part - 0.5) * 16).astype(np.int32)
            cv2.polylines(picture, [points], True, COLORS[head.label], 2, cv2.LINE_AA, shift=4)
        x, y = head.parts[0].mean(axis=0).astype(int)
        _named(picture, head.label, (int(x) - 26, int(y)), 0.45)
    return picture


def _named(picture: np.ndarray, label: str, corner: tuple[int, int], size: float) -> np.ndarray:
    for color, thickness in (((30, 30, 30), 3), (COLORS[label], 1)):
        cv2.putText(picture, label, corner, cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    main()
