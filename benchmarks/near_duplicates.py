"""How long does it take to find near-duplicates among 10,000 images, and which are missed? Goals: a minute, none.

    python benchmarks/near_duplicates.py [--images FOLDER] [--seed N]

The protocol, written before the first run:

- 1,000 different images: those of the demo (320 x 240 pixels), or of --images. Among them alone no group may be found.
- 10,000 images: these, ten changed copies of each of the first 200, and 7,000 further drawn scenes of discs, all
  different. A copy is re-encoded as JPEG (quality 30 to 95), resized to 0.9 or to 1.1 of its sides, zoomed by 0.9 or by
  1.1 about its middle (what comes in is grey, or mirrored), shifted by 2 % to the side (what comes in is black) or
  aslant (mirrored), 10 % brighter, 10 % darker, or a bit of all of these.
- Missed: copies that are not in the group of their original. False: groups that hold different images.
- Time is wall time with two threads, on files that have just been written; beside it the time of the processor.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.dataset.image_folder import find_images  # noqa: E402
from active_learning.dataset.near_duplicates import near_duplicates  # noqa: E402
from benchmarks.pairs import peak_kib  # noqa: E402
from benchmarks.pictures import read_picture  # noqa: E402

Pixels = npt.NDArray[np.uint8]
DIFFERENT, COPIED, ALL = 1000, 200, 10_000
SIZE = (320, 240)


def transformed(pixels: Pixels, factor: float, shift_x: float, shift_y: float, border: int) -> Pixels:
    """Zoomed about the middle, then shifted by shares of its sides; of the same size."""
    height, width = pixels.shape[:2]
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), 0, factor)
    transform[:, 2] += shift_x * width, shift_y * height
    fill = (127, 127, 127) if factor < 1 else (0, 0, 0)
    return _pixels(cv2.warpAffine(pixels, transform, (width, height), borderMode=border, borderValue=fill))


def resized(pixels: Pixels, factor: float) -> Pixels:
    return _pixels(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


def brighter(pixels: Pixels, factor: float) -> Pixels:
    return _pixels(cv2.convertScaleAbs(pixels, alpha=factor))


def _pixels(values: npt.NDArray[np.generic]) -> Pixels:
    return np.asarray(values, np.uint8)


EMPTY, MIRRORED = cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT
CHANGES: dict[str, Callable[[Pixels, float], Pixels]] = {
    "re-encoded": lambda pixels, _: pixels,
    "resized to 0.9": lambda pixels, _: resized(pixels, 0.9),
    "resized to 1.1": lambda pixels, _: resized(pixels, 1.1),
    "zoomed by 0.9": lambda pixels, chance: transformed(pixels, 0.9, 0, 0, EMPTY if chance < 0.5 else MIRRORED),
    "zoomed by 1.1": lambda pixels, _: transformed(pixels, 1.1, 0, 0, MIRRORED),
    "shifted to the side": lambda pixels, chance: transformed(pixels, 1, 0.02 if chance < 0.5 else -0.02, 0, EMPTY),
    "shifted aslant": lambda pixels, chance: transformed(pixels, 1, 0.02, 0.02 if chance < 0.5 else -0.02, MIRRORED),
    "10 % brighter": lambda pixels, _: brighter(pixels, 1.1),
    "10 % darker": lambda pixels, _: brighter(pixels, 0.9),
    "a bit of all": lambda pixels, chance: brighter(
        transformed(pixels, 0.96 + 0.08 * chance, 0.01, -0.01, MIRRORED), 1.05
    ),
}


def different_images(given: Path | None, out: Path, seed: int) -> list[Path]:
    if given is None:
        call = [sys.executable, str(ROOT / "demo" / "make_dataset.py"), "--out", str(out), "--seed", str(seed)]
        call += ["--images", str(DIFFERENT), "--val", "1", "--test", "1", "--size", "x".join(map(str, SIZE))]
        subprocess.run(call, check=True)
        given = out / "train"
    found = [given / name for name in find_images(given)][:DIFFERENT]
    if len(found) < DIFFERENT:
        raise SystemExit(f"{given}: holds {len(found)} images, {DIFFERENT} are needed")
    return found


def make_folder(sources: Sequence[Path], folder: Path, seed: int) -> None:
    """Originals as 0000.jpg, copies as 0000 <change>.jpg, other scenes as disc0000.jpg."""
    rng = np.random.default_rng(seed)
    for number, path in enumerate(sources):
        pixels = read_picture(path)
        _save(folder / f"{number:04d}.jpg", pixels, 92)
        for change, make in CHANGES.items() if number < COPIED else ():
            copy = make(pixels, float(rng.random()))
            _save(folder / f"{number:04d} {change}.jpg", copy, int(rng.integers(30, 96)))
    for number in range(ALL - DIFFERENT - COPIED * len(CHANGES)):
        _save(folder / f"disc{number:04d}.jpg", discs(rng), 92)


def _save(path: Path, pixels: Pixels, quality: int) -> None:
    path.write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def discs(rng: np.random.Generator) -> Pixels:
    """Of all sizes, on an uneven ground."""
    pixels = cv2.resize(rng.integers(60, 120, (6, 8, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        centre = tuple(int(one) for one in rng.integers((0, 0), SIZE))
        colour = rng.integers(0, 255, 3).tolist()
        cv2.circle(pixels, centre, int(rng.integers(6, 45)), colour, -1, cv2.LINE_AA)
    return _pixels(pixels)


def judge(groups: Sequence[Sequence[str]]) -> tuple[Counter[str], int]:
    """How many copies of each change were missed, and the groups that hold different images."""
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    missed = Counter(
        change
        for number in range(COPIED)
        for change in CHANGES
        if group_of.get(f"{number:04d} {change}.jpg", -1) != group_of.get(f"{number:04d}.jpg", -2)
    )
    return missed, sum(len({name.split(".")[0].split(" ")[0] for name in group}) > 1 for group in groups)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help=f"a folder of {DIFFERENT} different images; else they are drawn")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        sources = different_images(given.images, Path(place) / "demo", given.seed)
        folder = Path(place) / "images"
        folder.mkdir()
        make_folder(sources, folder, given.seed)
        names = find_images(folder)
        alone = near_duplicates(folder, [name for name in names if name[:4].isdecimal() and " " not in name])
        start, processor = time.perf_counter(), time.process_time()
        groups = near_duplicates(folder, names)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    missed, false = judge(groups)
    memory = peak_kib() / 1024
    print("## Near-duplicates\n")
    headers = [
        "images",
        "seconds",
        "CPU, s",
        "goal, s",
        "memory, MB",
        "copies",
        "missed",
        "false groups",
        "among 1,000 different",
    ]
    row = [
        len(names),
        f"{seconds:.1f}",
        f"{processor:.1f}",
        60,
        f"{memory:.0f}",
        COPIED * len(CHANGES),
        missed.total(),
        false,
        len(alone),
    ]
    print(tabulate([row], headers=headers, tablefmt="pipe"), "\n")
    for change, count in missed.items():
        print(f"missed of {change}: {count} of {COPIED}")


if __name__ == "__main__":
    main()
