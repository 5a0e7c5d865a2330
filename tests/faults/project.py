"""A project so small that a whole run takes seconds, and the person who annotates for it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import yaml

SIZE = 64
CLASSES = ["disc", "square"]
NETWORK = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "MASK_ON": True,
        "PIXEL_STD": [57.0, 57.0, 57.0],
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
        "RESNETS": {
            "DEPTH": 50,
            "STEM_OUT_CHANNELS": 16,
            "WIDTH_PER_GROUP": 8,
            "RES2_OUT_CHANNELS": 32,
            "NORM": "BN",
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 16, "NORM": "BN"},
        "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [24], [32], [48]], "ASPECT_RATIOS": [[1.0]]},
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TRAIN": 50,
            "PRE_NMS_TOPK_TEST": 50,
            "POST_NMS_TOPK_TRAIN": 30,
            "POST_NMS_TOPK_TEST": 15,
        },
        "ROI_HEADS": {
            "NAME": "StandardROIHeads",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "BATCH_SIZE_PER_IMAGE": 16,
        },
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "FC_DIM": 32, "POOLER_RESOLUTION": 7},
        "ROI_MASK_HEAD": {
            "NAME": "MaskRCNNConvUpsampleHead",
            "NUM_CONV": 1,
            "CONV_DIM": 16,
            "POOLER_RESOLUTION": 7,
        },
    },
    "SOLVER": {"CLIP_GRADIENTS": {"ENABLED": True}},
    "INPUT": {"MIN_SIZE_TRAIN": [SIZE], "MIN_SIZE_TEST": SIZE},
    "VERSION": 2,
}
SETTINGS = {
    "weightsroot": "weights",
    "resultsroot": "results",
    "dataroot": "data",
    "traindir": "data/train",
    "valdir": "data/val",
    "testdir": "data/test",
    "network_config": "network.yaml",
    "pretrained_weights": "",
    "cuda_visible_devices": "cpu",
    "precision": "fp32",
    "classes": CLASSES,
    "learning_rate": 0.02,
    "warmup_iterations": 4,
    "train_iterations_base": 8,
    "eval_period": 4,
    "train_batch_size": 2,
    "num_workers": 0,
    "confidence_threshold": 0.05,
    "images_without_detections": "choose",
    "initial_datasize": 3,
    "pool_size": 2,
    "loops": 2,
    "mcd_iterations": 2,
    "seed": 3,
}
SPLITS = {"train": 14, "val": 3, "test": 2}


def make_project(folder: Path, **changes: object) -> None:
    """Images without annotations, a network and settings; with tiles of SIZE, two an image."""
    rng = np.random.default_rng(7)
    width = SIZE * 3 // 2 if "tile_size" in changes else SIZE
    for split, count in SPLITS.items():
        for index in range(count):
            place = folder / "data" / split / ("Feld ä" if split == "train" and index % 4 == 3 else "")
            place.mkdir(parents=True, exist_ok=True)
            picture = rng.integers(20, 60, (SIZE, width, 3)).astype(np.uint8)
            name = f"{split}{index:02d}.png"
            for shape in shapes_of(name):
                corners = np.array(shape["points"], np.int32)
                cv2.fillPoly(picture, [corners], (60, 200, 240) if shape["label"] == "disc" else (220, 120, 40))
            (place / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    (folder / "network.yaml").write_text(yaml.safe_dump(NETWORK), encoding="utf-8")
    write_settings(folder, **changes)


def write_settings(folder: Path, **changes: object) -> None:
    (folder / "maskAL.yaml").write_text(yaml.safe_dump({**SETTINGS, **changes}), encoding="utf-8")


def shapes_of(image: str) -> list[dict]:
    """The objects of an image, drawn and annotated alike: a square and an octagon."""
    rng = random.Random(image)
    shapes = []
    for label, left in (("square", 4), ("disc", 34)):
        x, y, side = left + rng.randrange(5), rng.randrange(4, 34), rng.randrange(14, 24)
        cut = 0 if label == "square" else side // 4
        outline = [(cut, 0), (side - cut, 0), (side, cut), (side, side - cut), (side - cut, side), (cut, side)]
        outline += [(0, side - cut), (0, cut)]
        points = list(dict.fromkeys((x + dx, y + dy) for dx, dy in outline))
        shapes.append({"label": label, "points": [list(point) for point in points], "shape_type": "polygon"})
    return shapes


def annotation_of(image: str, *, faulty: bool = False, **more: object) -> bytes:
    """LabelMe's file of an image; `more` makes it another one that means the same."""
    shapes = shapes_of(image)
    if faulty:
        shapes[0]["label"] = "sqare"
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, **more}
    return json.dumps({**document, "imageData": None}).encode()


@dataclass
class Person:
    """Annotates what lies in the annotate folders, whether the program runs or not. `made`: what must never be lost.

    Some files are half written for a while, some are saved again, and some images have another file of this person
    beside the original, be it a good or a faulty one.
    """

    folder: Path
    rng: random.Random
    leaves_out: Callable[[str], bool] = lambda image: False  # another person annotates these
    made: set[bytes] = field(default_factory=set)
    saves: int = 0
    _half: dict[Path, int] = field(default_factory=dict)
    _done: set[tuple[Path, int]] = field(default_factory=set)

    def work(self) -> None:
        for split in SPLITS:
            annotate = self.folder / "data" / split / "annotate"
            places = [Path(place, name) for place, _, names in os.walk(annotate) for name in names]
            for image in sorted(path for path in places if path.suffix == ".png" and not self.leaves_out(path.name)):
                with suppress(FileNotFoundError):  # collected at this moment
                    self._work_at(image, annotate.parent / image.relative_to(annotate))

    def _work_at(self, image: Path, original: Path) -> None:
        target, copy = image.with_suffix(".json"), (image, image.stat().st_ino)
        if image in self._half:
            self._half[image] -= 1
            if self._half[image] <= 0:
                del self._half[image]
                self._save(target, self._annotation(image.name))
        elif copy not in self._done:
            self._done.add(copy)
            self._begin(image, target, original)

    def _begin(self, image: Path, target: Path, original: Path) -> None:
        habit = self.rng.choice(["at once", "half", "again", "faulty beside", "good beside"])
        if habit.endswith("beside"):
            self._save(original.with_suffix(".json"), self._annotation(image.name, faulty=habit.startswith("faulty")))
        content = self._annotation(image.name)
        if habit == "half":
            target.write_bytes(content[: self.rng.randrange(1, len(content) - 1)])
            self._half[image] = self.rng.randrange(2, 20)
            return
        self._save(target, content)
        if habit == "again":
            self._half[image] = self.rng.randrange(1, 20)

    def _save(self, path: Path, content: bytes) -> None:
        """As LabelMe does, straight into the file; what this person replaces is this person's to replace."""
        before = path.read_bytes() if path.exists() else b""
        path.write_bytes(content)
        self.made.discard(before)
        self.made.add(content)

    def _annotation(self, image: str, *, faulty: bool = False) -> bytes:
        """No two are the same, byte for byte, yet all good ones of an image mean the same."""
        self.saves += 1
        return annotation_of(image, faulty=faulty, save=self.saves)

    def lost(self) -> set[bytes]:
        """What this person made and is nowhere any more."""
        return self.made - contents(self.folder / "data")


def contents(folder: Path) -> set[bytes]:
    """Of all files below, those that links lead to as well."""
    places = ((place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    return {Path(place, name).read_bytes() for place, name in places if Path(place, name).is_file()}
