"""What the study of savings trains on: drawn images, and the weights to start from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from active_learning.annotations import read_annotation
from active_learning.dataset.image_folder import find_images, pair_annotations
from active_learning.system.files import write_if_changed
from demo.heads import CLASSES
from demo.make_dataset import SHARES

ROOT = Path(__file__).resolve().parents[1]
SHARES_OF = {"demo_imbalanced": (60, 20, 12, 6, 2), "demo_mild": tuple(SHARES.values())}  # percent, in order of CLASSES
IMAGES = {"train": 1000, "val": 300, "test": 400}  # drawn
START_IMAGES = {"train": 600, "val": 60, "test": 2}  # drawn with another seed, for the network to start from
SIZE = "160x120"


@dataclass(frozen=True)
class Data:
    """Folders train, val and test below `folder`, each image with its annotation."""

    name: str
    folder: Path
    classes: tuple[str, ...]


def drawn(name: str, out: Path, images: Mapping[str, int]) -> Data:
    """The demo's heads, with the class shares that the name stands for."""
    folder = out / "datasets"
    draw(folder, images, seed=0, shares=SHARES_OF[name])
    return Data(name, folder, CLASSES)


def start_images(out: Path, images: Mapping[str, int]) -> Data:
    """Other drawn images in which every head is of one class."""
    folder = out / "datasets"
    draw(folder, images, seed=1, shares=SHARES_OF["demo_mild"])
    for path in folder.glob("*/*.json"):
        write_if_changed(path, re.sub(r'"label": "\w+"', '"label": "head"', path.read_text(encoding="utf-8")))
    return Data("start", folder, ("head",))


def draw(out: Path, images: Mapping[str, int], seed: int, shares: Sequence[float]) -> None:
    """Draws images in a process; leaves them alone where they are there already."""
    options = {"--images": images["train"], "--val": images["val"], "--test": images["test"], "--seed": seed}
    call = [sys.executable, str(ROOT / "demo" / "make_dataset.py"), "--out", str(out), "--size", SIZE]
    call += [str(word) for option in options.items() for word in option]
    subprocess.run([*call, "--class-shares", *map(str, shares)], check=True)


def annotated_objects(data: Data, split: str) -> Counter[str]:
    """Objects of each class."""
    counts: Counter[str] = Counter()
    for image, path in pair_annotations(folder := data.folder / split, find_images(folder)).items():
        counts.update(one.label for one in read_annotation(path, image=image, size=None).instances)
    return counts


def complete_weights(weights: Path, config: Path, target: Path) -> Path:
    """Writes the weights of the whole network of a settings file: those of a file, the rest random, always the same.

    So every training starts from the same network, and a backbone without its last stage will do.
    """
    import torch

    from active_learning.network.network_config import network_config
    from active_learning.network.weights_files import save_weights
    from active_learning.settings import load_settings
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    settings = load_settings(config)
    cfg = network_config(settings, settings.experiments()[0])
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(weights))
    save_weights(model, target)
    return target


def keep_only(folder: Path, *kept: Path) -> None:
    """Weights of a run that is done take gigabytes; those of the others are not needed any more."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in kept:
            path.unlink()
