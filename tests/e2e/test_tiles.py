"""A whole run on images that are larger than its tiles, with a person who annotates."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.e2e

SIDE, TILE = 96, 128  # of the small images, and of the tiles
COLUMNS, ROWS = 3, 2


def stitch(folder: Path) -> None:
    """Makes large images of the small ones of a folder, and annotations of theirs; the first begins with itself."""
    names = sorted(path for path in folder.rglob("*.png"))
    small = {path: (cv2.imread(str(path)), json.loads(path.with_suffix(".json").read_text("utf-8"))) for path in names}
    for start, path in enumerate(names):
        pictures, shapes = [], []
        for place in range(COLUMNS * ROWS):
            picture, document = small[names[(start + place) % len(names)]]
            pictures.append(picture)
            offset = np.array([place % COLUMNS, place // COLUMNS]) * SIDE
            shapes += [{**one, "points": (np.array(one["points"]) + offset).tolist()} for one in document["shapes"]]
        rows = [np.hstack(pictures[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
        path.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())
        size = {"imageHeight": ROWS * SIDE, "imageWidth": COLUMNS * SIDE}
        path.with_suffix(".json").write_text(json.dumps({**small[path][1], "shapes": shapes, **size}), "utf-8")


class Annotator(threading.Thread):
    """A person who has all annotations and puts one beside each image that comes into the annotate folder."""

    def __init__(self, folder: Path, answers: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.answers = folder, answers
        self.asked: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            for image in sorted(self.folder.rglob("*.png")):
                name = image.relative_to(self.folder).with_suffix(".json")
                with suppress(FileNotFoundError):  # the image was collected just now
                    shutil.copy(self.answers / name, self.folder / name)
                    self.asked.add(name.as_posix())
                    (self.folder / "DONE").touch()


def test_a_whole_run_on_tiles(tiny_project):
    for split in ("train", "val", "test"):
        stitch(tiny_project.file("data", split))
    shutil.rmtree(tiny_project.train / "Feld ä")
    answers = tiny_project.file("answers")
    for path in tiny_project.train.rglob("*.json"):
        (answers / path.relative_to(tiny_project.train)).parent.mkdir(parents=True, exist_ok=True)
        path.rename(answers / path.relative_to(tiny_project.train))
    tiny_project.settings(
        tile_size=TILE, image_min_size=TILE, image_max_size=TILE, initial_datasize=3, pool_size=2, loops=1,
        train_iterations_base=50, eval_period=50, mcd_iterations=2, confidence_threshold=0.05,
        images_without_detections="choose",
    )  # fmt: skip
    annotator = Annotator(tiny_project.train / "annotate", answers)
    annotator.start()
    code, output = tiny_project.run()
    annotator.over.set()
    assert code == 0, output
    assert len(annotator.asked) == 5
    results, weights = (tiny_project.file(place, "exp1", "uncertainty") for place in ("results", "weights"))
    with (results / "uncertainty.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert [(row[0], row[-1]) for row in rows] == [("3", "36"), ("5", "60")]  # whole images, and the objects in them
    assert all(0 <= float(row[1]) <= 100 for row in rows)
    assert "Training on 3 images: 18 tiles of 128 pixels, 18 of them with objects" in output
    assert not (weights / "tiles").exists()
    coco = json.loads(tiny_project.file("data", "train.json").read_text(encoding="utf-8"))
    assert {(one["height"], one["width"]) for one in coco["images"]} == {(ROWS * SIDE, COLUMNS * SIDE)}
    assert len(coco["images"]) == 5 and len(coco["annotations"]) == 60
    assert "label check could not" not in output
    assert 'id="why"' in tiny_project.file("results", "exp1", "report.html").read_text(encoding="utf-8")
