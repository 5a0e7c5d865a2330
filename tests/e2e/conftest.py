"""A tiny project, as a user has it: images of discs and squares, LabelMe files, a settings file and a network file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.processes import Program

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["disc", "square"]
SIZE = 96

NETWORK = {
    "_BASE_": str(ROOT / "configs" / "Base-RCNN-FPN.yaml"),
    "MODEL": {
        "WEIGHTS": "",
        "MASK_ON": True,
        "BACKBONE": {"FREEZE_AT": 0},
        "PIXEL_STD": [57.0, 57.0, 57.0],
        "RESNETS": {
            "DEPTH": 50,
            "STEM_OUT_CHANNELS": 16,
            "WIDTH_PER_GROUP": 8,
            "RES2_OUT_CHANNELS": 32,
            "NORM": "BN",
        },
        "FPN": {"OUT_CHANNELS": 32, "NORM": "BN"},
        "ANCHOR_GENERATOR": {"SIZES": [[12], [24], [36], [48], [64]]},
        "RPN": {
            "PRE_NMS_TOPK_TRAIN": 200,
            "PRE_NMS_TOPK_TEST": 100,
            "POST_NMS_TOPK_TRAIN": 100,
            "POST_NMS_TOPK_TEST": 50,
        },
        "ROI_HEADS": {"BATCH_SIZE_PER_IMAGE": 32},
        "ROI_BOX_HEAD": {"FC_DIM": 64},
        "ROI_MASK_HEAD": {"NUM_CONV": 1, "CONV_DIM": 32},
    },
    "SOLVER": {"CLIP_GRADIENTS": {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 5.0}},
    "INPUT": {"MIN_SIZE_TRAIN": [SIZE], "MAX_SIZE_TRAIN": SIZE, "MIN_SIZE_TEST": SIZE, "MAX_SIZE_TEST": SIZE},
}


@dataclass(frozen=True)
class TinyProject:
    folder: Path
    config: Path

    @property
    def train(self) -> Path:
        return self.folder / "data" / "train"

    def file(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    def settings(self, **changes: object) -> None:
        values = yaml.safe_load(self.config.read_text(encoding="utf-8")) if self.config.exists() else {}
        self.config.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")

    def start(self, *arguments: str, processes: int = 1, as_a_user: bool = False) -> subprocess.Popen[str] | Program:
        """One process loads PyTorch only if it is started `as_a_user`, which takes seconds; else it has it already."""
        words = [str(ROOT / "maskAL.py"), "--config", str(self.config), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        if processes == 1 and not as_a_user:
            return Program(*words, cwd=self.folder, env=environment, merged=True)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return subprocess.Popen(
            [sys.executable, *(torchrun if processes > 1 else []), *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def study(self, tool: str, *arguments: str) -> str:
        """Everything that a study tool prints; the run must have trained a network."""
        script = str(ROOT / "active_learning" / "utils" / tool)
        process = Program(script, "--config", str(self.config), *arguments, cwd=self.folder, env=os.environ)
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, out + err
        return out

    def run(self, *arguments: str, processes: int = 1, as_a_user: bool = False) -> tuple[int, str]:
        """(exit code, everything printed)."""
        process = self.start(*arguments, processes=processes, as_a_user=as_a_user)
        try:
            output, _ = process.communicate(timeout=500)
        finally:
            process.kill()
        return process.returncode, output


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """A noisy picture with two objects and their LabelMe shapes."""
    picture = rng.integers(20, 60, (SIZE, SIZE, 3)).astype(np.uint8)
    shapes = []
    for centre_x, label in zip((26, 70), rng.permutation(CLASSES), strict=True):
        x, y, radius = centre_x + int(rng.integers(-4, 5)), int(rng.integers(24, 72)), int(rng.integers(13, 19))
        if label == "disc":
            cv2.circle(picture, (x, y), radius, (60, 200, 240), -1)
            shapes.append({"label": "disc", "shape_type": "circle", "points": [[x, y], [x + radius, y]]})
        else:
            cv2.rectangle(picture, (x - radius, y - radius), (x + radius, y + radius), (220, 120, 40), -1)
            corners = [
                [x - radius, y - radius],
                [x + radius, y - radius],
                [x + radius, y + radius],
                [x - radius, y + radius],
            ]
            shapes.append({"label": "square", "shape_type": "polygon", "points": corners})
    return picture, shapes


def write_labelme(path: Path, image_name: str, shapes: list[dict]) -> None:
    document = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"group_id": None, "flags": {}, **shape} for shape in shapes],
        "imagePath": image_name,
        "imageData": None,
        "imageHeight": SIZE,
        "imageWidth": SIZE,
    }
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def tiny_project(tmp_path: Path) -> TinyProject:
    """12 annotated training images (4 in a sub-folder with a space and an umlaut), 3 validation and 3 test images."""
    folder = tmp_path / "my project"
    rng = np.random.default_rng(5)
    for split, count in (("train", 12), ("val", 3), ("test", 3)):
        for index in range(count):
            place = folder / "data" / split / ("Feld ä" if split == "train" and index >= 8 else "")
            place.mkdir(parents=True, exist_ok=True)
            picture, shapes = draw(rng)
            name = f"{split}{index:02d}.png"
            (place / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            write_labelme(place / f"{split}{index:02d}.json", name, shapes)
    network = folder / "network.yaml"
    network.write_text(yaml.safe_dump(NETWORK), encoding="utf-8")
    project = TinyProject(folder, folder / "maskAL.yaml")
    project.settings(
        weightsroot="weights",
        resultsroot="results",
        dataroot="data",
        traindir="data/train",
        valdir="data/val",
        testdir="data/test",
        network_config=str(network),
        pretrained_weights="",
        cuda_visible_devices="cpu",
        classes=CLASSES,
        learning_rate=0.02,
        warmup_iterations=10,
        train_iterations_base=80,
        train_iterations_step_size=10,
        step_image_number=500,
        eval_period=40,
        train_batch_size=4,
        num_workers=0,
        step_ratios=[0.9],
        dropout_probability=0.1,
        confidence_threshold=0.1,
        initial_datasize=6,
        pool_size=3,
        loops=2,
        mcd_iterations=4,
        seed=1,
    )
    return project
