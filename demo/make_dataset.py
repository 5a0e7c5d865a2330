"""Draw the demo data set: broccoli-like heads of five imbalanced classes, with LabelMe files beside the images.

    python demo/make_dataset.py --out demo/run/datasets

makes train/, val/ and test/ below --out. The same arguments give the same bytes. A data set that is there already is
left as it is; one that was made with other arguments is moved aside; one that was broken off is drawn anew; a folder of
other files is refused.
Near-duplicates are listed beside the folders, in near_duplicates.csv: image, original.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, `demo` is no package without this

from active_learning.annotations import Annotation, Instance, Part, labelme  # noqa: E402
from active_learning.errors import SettingsError  # noqa: E402
from active_learning.system.exit_code import exit_code_of  # noqa: E402
from active_learning.system.files import DRAFT, draft_of, folder_aside  # noqa: E402
from active_learning.system.log import print_result  # noqa: E402
from active_learning.system.progress import progress  # noqa: E402
from active_learning.system.written_files import only_program  # noqa: E402
from demo.scene import Scene, draw_views  # noqa: E402

SHARES = {"healthy": 45, "damaged": 22, "matured": 15, "cateye": 10, "headrot": 8}  # in percent
HEADS_AN_IMAGE = {1: 20, 2: 35, 3: 30, 4: 15}  # in percent
SPLITS = ("train", "val", "test")
MARKER = "made_by_demo.json"
HALF_DRAWN = b"{}"  # what the marker holds until the last image is drawn
NEAR_DUPLICATES = "near_duplicates.csv"
DRAWN = re.compile(rf"({'|'.join(SPLITS)})/\1_\d{{4,}}\.(jpg|json)|{re.escape(MARKER)}|{re.escape(NEAR_DUPLICATES)}")
JPEG_QUALITY = 92
DRAWING = 2  # raise it when the drawing changes, so that old demo data are not taken for new


@dataclass(frozen=True)
class Order:
    """What to draw: numbers of images for `train`, `val` and `test`, a weight for each class, a share of `train`."""

    train: int
    val: int
    test: int
    seed: int
    width: int
    height: int
    drawing: int = DRAWING
    class_shares: tuple[float, ...] = tuple(SHARES.values())
    near_duplicates: float = 0.0

    @property
    def marker(self) -> str:
        """The order as json. What came later is left out where it is the default: older demo data stay valid."""
        values = asdict(self)
        later = {"class_shares": tuple(SHARES.values()), "near_duplicates": 0.0}
        return json.dumps({name: value for name, value in values.items() if later.get(name) != value})


@dataclass(frozen=True)
class Shot:
    """One image: where it goes, and its random stream."""

    image: Path
    stream: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """One scene to draw: the shot that it is drawn for, its near-duplicates, and the classes of its heads."""

    original: Shot
    near_duplicates: tuple[Shot, ...]
    labels: tuple[str, ...]
    height: int
    width: int

    @property
    def shots(self) -> tuple[Shot, ...]:
        return (self.original, *self.near_duplicates)


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(_run, *_parse(arguments), go_on="Start it again: the data set is drawn anew.")


def _run(out: Path, order: Order) -> None:
    with only_program(out):
        if _is_made(out, order):
            print_result(f"The demo data set is in {out} already.")
            return
        if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
            _make_way(out)
        make_dataset(out, order, workers=min(4, os.cpu_count() or 1))
    print_result(f"Drew {order.train} training, {order.val} validation and {order.test} test images in {out}.")


def _make_way(out: Path) -> None:
    """Removes a half-drawn data set; moves aside a finished one, and a half-drawn one that holds a person's files.

    Raises SettingsError for what this program did not make.
    """
    if out.is_symlink() or not (out / MARKER).is_file():
        raise SettingsError(f"--out {out}: holds what is no demo data set; give the path of a new folder")
    half_drawn = (out / MARKER).read_bytes() == HALF_DRAWN
    files = [path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()]
    if half_drawn and all(_is_drawn(file, out) for file in files):
        for file in files:
            if file != out / MARKER:  # by which the next start knows them, should this one be broken off, too
                file.unlink(missing_ok=True)
        print_result(f"The data set in {out} was broken off; it is drawn anew.")
        return
    aside = folder_aside(out)
    aside.rmdir()  # Windows renames no folder onto another
    out.rename(aside)
    held = "a half-drawn data set with other files among it" if half_drawn else "other data"
    print_result(f"{out} held {held}; it was moved to {aside}.")


def _is_drawn(path: Path, out: Path) -> bool:
    """Whether it is named as this program names its own files."""
    name = path.relative_to(out).as_posix().removesuffix(DRAFT)
    return not path.is_symlink() and DRAWN.fullmatch(name) is not None


def _parse(arguments: list[str] | None) -> tuple[Path, Order]:
    parser = _parser()
    given = parser.parse_args(arguments)
    if len(given.class_shares) != len(SHARES) or not any(given.class_shares):
        parser.error(f"argument --class-shares: give {len(SHARES)} numbers, not all 0: for {', '.join(SHARES)}")
    width, height = given.size
    return given.out if given.out.name else given.out.resolve(), Order(
        train=given.images,
        val=given.val,
        test=given.test,
        seed=given.seed,
        width=width,
        height=height,
        class_shares=tuple(given.class_shares),
        near_duplicates=given.near_duplicates,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw the demo data set: images with LabelMe files beside them.")
    add, count = parser.add_argument, partial(_number, highest=1_000_000, kind=int)
    add("--out", type=Path, default=Path("demo/run/datasets"), help="folder for train, val and test")
    add("--images", type=count, default=160, help="training images, all annotated (default 160)")
    add("--val", type=count, default=20, help="validation images (default 20)")
    add("--test", type=count, default=40, help="test images (default 40)")
    add("--seed", type=partial(_number, highest=2**32 - 1, kind=int), default=0, help="another seed draws other images")
    sizes = "WIDTHxHEIGHT in pixels, or the side of a square (default 320x240); objects shrink with it"
    add("--size", type=_size, default=(320, 240), help=sizes)
    usual = list(SHARES.values())
    shares = f"shares of {', '.join(SHARES)}, in percent or any unit (default {' '.join(map(str, usual))})"
    weight, share = partial(_number, highest=1_000_000), partial(_number, highest=1)
    add("--class-shares", type=weight, nargs="+", default=usual, metavar="SHARE", help=shares)
    again = "share of the training images, 0 to 1, that show the scene of another one again (default 0)"
    add("--near-duplicates", type=share, default=0.0, metavar="SHARE", help=again)
    return parser


def _number(text: str, highest: int, kind: Callable[[str], float] = float) -> float:
    try:
        number = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number") from error
    if not 0 <= number <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and {highest:,}")
    return number


def _size(text: str) -> tuple[int, int]:
    try:
        sides = [int(number) for number in text.lower().split("x")]
        width, height = sides * 2 if len(sides) == 1 else sides
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 320x240, nor one number") from error
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError(f"{text!r} is too small: at least 64x64")
    return width, height


def _is_made(out: Path, order: Order) -> bool:
    marker = out / MARKER
    with suppress(ValueError):  # damaged
        return marker.is_file() and bool(json.loads(marker.read_text(encoding="utf-8")) == json.loads(order.marker))
    return False


def make_dataset(out: Path, order: Order, workers: int = 1) -> None:
    """Draw all images of an order below `out`. The marker names the order last: a broken-off data set is made again."""
    tasks = [task for split in SPLITS for task in plan(out, order, split)]
    _write(out / MARKER, HALF_DRAWN)  # first: without it, the next start would take the folders for a person's
    for split in SPLITS:
        (out / split).mkdir(exist_ok=True)
    with progress(what="drawing", unit="image", total=sum(len(task.shots) for task in tasks)) as bar:
        for done in _draw_all(tasks, workers):
            bar.update(done)
    if order.near_duplicates:
        _write(out / NEAR_DUPLICATES, _near_duplicates_csv(tasks))
    _write(out / MARKER, order.marker.encode())


def _draw_all(tasks: list[Task], workers: int) -> Iterator[int]:
    """The number of images of each task, as it gets done."""
    if workers == 1:
        yield from map(draw, tasks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool:
        yield from pool.map(draw, tasks, chunksize=4)


def _end_with_parent() -> None:
    """A worker whose parent was killed would write on, into what the next start draws."""

    def end() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _near_duplicates_csv(tasks: list[Task]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "original"])
    writer.writerows(
        sorted((shot.image.name, task.original.image.name) for task in tasks for shot in task.near_duplicates)
    )
    return text.getvalue().encode()


def plan(out: Path, order: Order, split: str) -> list[Task]:
    """The scenes of one split. Classes are dealt from a shuffled deck, so that small splits keep the shares too."""
    number = SPLITS.index(split)
    scenes = _scenes(order, split)
    rng = np.random.default_rng([order.seed, number])
    counts = _deal(rng, HEADS_AN_IMAGE, len(scenes))
    labels = iter(_deal(rng, dict(zip(SHARES, order.class_shares, strict=True)), sum(counts)))

    def shot(index: int) -> Shot:
        return Shot(out / split / f"{split}_{index:04d}.jpg", (order.seed, number, index))

    return [
        Task(
            original=shot(original),
            near_duplicates=tuple(shot(index) for index in again),
            labels=tuple(next(labels) for _ in range(count)),
            height=order.height,
            width=order.width,
        )
        for (original, again), count in zip(scenes.items(), counts, strict=True)
    ]


def _scenes(order: Order, split: str) -> dict[int, list[int]]:
    """Numbers of the images: of each scene's first, and of its near-duplicates. One image at least is an original."""
    images = getattr(order, split)
    repeated = round(order.near_duplicates * images) if split == "train" else 0
    rng = np.random.default_rng([order.seed, len(SPLITS)])
    again, originals = np.split(rng.permutation(images), [max(0, min(repeated, images - 1))])
    scenes: dict[int, list[int]] = {int(original): [] for original in sorted(originals)}
    for index, original in zip(sorted(again), rng.choice(originals, len(again)), strict=True):
        scenes[int(original)].append(int(index))
    return scenes


def _deal(rng: np.random.Generator, percent: dict, count: int) -> list:
    """`count` keys in random order, as near to their shares as whole numbers get."""
    keys, shares = list(percent), np.array(list(percent.values()), float)
    ends = np.round(np.cumsum(shares) / shares.sum() * count).astype(int)
    dealt = np.repeat(np.arange(len(keys)), np.diff(ends, prepend=0))
    return [keys[k] for k in rng.permutation(dealt)]


def draw(task: Task) -> int:
    """Draw a scene and write its images, each with its LabelMe file; returns how many."""
    cv2.setNumThreads(1)
    rng, *others = (np.random.default_rng(shot.stream) for shot in task.shots)
    scenes = draw_views(rng, list(task.labels), task.height, task.width, others)
    qualities = [JPEG_QUALITY, *(int(other.integers(80, 96)) for other in others)]
    for shot, scene, quality in zip(task.shots, scenes, qualities, strict=True):
        _, encoded = cv2.imencode(shot.image.suffix, scene.picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        _write(shot.image, encoded.tobytes())
        labelme.write(_annotation(shot.image, scene), shot.image.with_suffix(".json"))
    return len(scenes)


def _annotation(image: Path, scene: Scene) -> Annotation:
    instances = tuple(Instance(head.label, tuple(Part(points) for points in head.parts)) for head in scene.heads)
    height, width = scene.picture.shape[:2]
    return Annotation(image.name, height, width, instances)


def _write(path: Path, content: bytes) -> None:
    with draft_of(path) as draft:
        draft.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
