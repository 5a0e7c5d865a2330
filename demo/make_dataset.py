"""Draw the demo data set: broccoli-like heads of five imbalanced classes, with LabelMe files beside the images.

    python demo/make_dataset.py --out demo/run/datasets

makes train/, val/ and test/ below --out. The same arguments give the same bytes. A data set that is there already is
left as it is; one that was made with other arguments is moved aside.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, `demo` is no package without this

from active_learning.annotations import Annotation, Instance, Part, labelme  # noqa: E402
from active_learning.system.progress import progress  # noqa: E402
from demo.scene import VisibleHead, draw_scene  # noqa: E402

SHARES = {"healthy": 45, "damaged": 22, "matured": 15, "cateye": 10, "headrot": 8}  # in percent
HEADS_AN_IMAGE = {1: 20, 2: 35, 3: 30, 4: 15}  # in percent
SPLITS = ("train", "val", "test")
MARKER = "made_by_demo.json"
DRAWING = 2  # raise it when the drawing changes, so that old demo data are not taken for new


@dataclass(frozen=True)
class Order:
    """What to draw; `train`, `val` and `test` are numbers of images."""

    train: int
    val: int
    test: int
    seed: int
    width: int
    height: int
    drawing: int = DRAWING


@dataclass(frozen=True)
class Task:
    """One image to draw: where it goes, its random stream and the classes of its heads."""

    image: Path
    stream: tuple[int, ...]
    labels: tuple[str, ...]
    height: int
    width: int


def main(arguments: list[str] | None = None) -> None:
    out, order = _parse(arguments)
    if _is_made(out, order):
        print(f"The demo data set is in {out} already.")
        return
    if out.exists():
        aside = out.with_name(f"{out.name}.bak-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
        out.rename(aside)
        print(f"{out} held other data; it was moved to {aside}.")
    make_dataset(out, order, workers=min(4, os.cpu_count() or 1))
    print(f"Drew {order.train} training, {order.val} validation and {order.test} test images in {out}.")


def _parse(arguments: list[str] | None) -> tuple[Path, Order]:
    parser = argparse.ArgumentParser(description="Draw the demo data set: images with LabelMe files beside them.")
    parser.add_argument("--out", type=Path, default=Path("demo/run/datasets"), help="folder for train, val and test")
    parser.add_argument("--images", type=int, default=160, help="training images, all annotated (default 160)")
    parser.add_argument("--val", type=int, default=20, help="validation images (default 20)")
    parser.add_argument("--test", type=int, default=40, help="test images (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other images")
    parser.add_argument("--size", type=_size, default=(320, 240), help="WIDTHxHEIGHT in pixels (default 320x240)")
    given = parser.parse_args(arguments)
    width, height = given.size
    return given.out, Order(given.images, given.val, given.test, given.seed, width, height)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(number) for number in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 320x240") from error
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError(f"{text!r} is too small: at least 64x64")
    return width, height


def _is_made(out: Path, order: Order) -> bool:
    marker = out / MARKER
    return marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == asdict(order)


def make_dataset(out: Path, order: Order, workers: int = 1) -> None:
    """Draw all images of an order below `out`. The marker comes last: a broken-off data set is made again."""
    tasks = [task for split in SPLITS for task in plan(out, order, split)]
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
    with progress(what="drawing", unit="image", total=len(tasks)) as bar:
        if workers == 1:
            for task in tasks:
                draw(task)
                bar.update()
        else:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
                for _ in pool.map(draw, tasks, chunksize=4):
                    bar.update()
    _write(out / MARKER, json.dumps(asdict(order)).encode())


def plan(out: Path, order: Order, split: str) -> list[Task]:
    """The images of one split. Classes are dealt from a shuffled deck, so that small splits keep the shares too."""
    number = SPLITS.index(split)
    rng = np.random.default_rng([order.seed, number])
    counts = _deal(rng, HEADS_AN_IMAGE, getattr(order, split))
    labels = iter(_deal(rng, SHARES, sum(counts)))
    return [
        Task(
            image=out / split / f"{split}_{index:04d}.jpg",
            stream=(order.seed, number, index),
            labels=tuple(next(labels) for _ in range(count)),
            height=order.height,
            width=order.width,
        )
        for index, count in enumerate(counts)
    ]


def _deal(rng: np.random.Generator, percent: dict, count: int) -> list:
    """`count` keys in random order, as near to their shares as whole numbers get."""
    keys, shares = list(percent), np.array(list(percent.values()), float)
    ends = np.round(np.cumsum(shares) / shares.sum() * count).astype(int)
    dealt = np.repeat(np.arange(len(keys)), np.diff(ends, prepend=0))
    return [keys[k] for k in rng.permutation(dealt)]


def draw(task: Task) -> None:
    """Draw one image and write it with its LabelMe file."""
    cv2.setNumThreads(1)
    scene = draw_scene(np.random.default_rng(task.stream), list(task.labels), task.height, task.width)
    _, encoded = cv2.imencode(task.image.suffix, scene.picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    _write(task.image, encoded.tobytes())
    labelme.write(_annotation(task, scene.heads), task.image.with_suffix(".json"))


def _annotation(task: Task, heads: tuple[VisibleHead, ...]) -> Annotation:
    instances = tuple(Instance(head.label, tuple(Part(points) for points in head.parts)) for head in heads)
    return Annotation(task.image.name, task.height, task.width, instances)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
