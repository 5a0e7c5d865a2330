"""What do tiles cost, and what do they find? Large images are stitched from the demo's scenes.

    python benchmarks/tiles.py cost|ap|borders|loop --weights start.pth --out DIR

`--weights` knows heads: benchmarks/savings.py makes such (start.pth in <out>/../start), on scenes of 160 x 120 pixels.
All networks see heads at the size of that training. Nothing is trained but for `loop`. Protocol, written before the
first run (benchmarks/results/tiles.md has the results):

- cost: an image of 12,000 x 9,000 pixels, 900 scenes of 400 x 300 (100 different ones), about 2,000 heads; as a JPEG
  (quality 92), and as a TIFF in tiles of 512 x 512 pixels, compressed (deflate). Tiles of 1,000 pixels, overlap 0.2,
  seen at 400. Each measurement is a process of its own, on one core. Peak memory (ru_maxrss) beside that of the same
  for one tile, saved as a file. Time of detecting in the image file, beside the time that the network, and cutting its
  masks, take for the same tiles, which are then in memory already. Goal: memory grows by no more than the decoded image
  (324 MB; TIFF: by much less), time by no more than a fifth. (Tiles in memory need not be read and resized, which any
  image needs. So, later, the same tiles were added as image files of their own, PNG, each detected in by itself. And
  memory is read as VmHWM: ru_maxrss begins with that of the program which starts the measurement.)
- ap: 100 scenes of 160 x 120 pixels, none of the training. Mask AP (score threshold 0.05) on the single scenes; on one
  image of all of them, 1,600 x 1,200, in tiles of 320 with an overlap of 0.2; and on that image in one piece. Goal: in
  tiles within 1 point of the single scenes. Seams between scenes, where heads stop short, are in the image, in tiles or
  not: the image in one piece shows what they cost. (They cost more than the tiles. So, after the first run, the same
  was added with 40 pixels of the network's mean colour between scenes, as each single scene has it around it.)
- borders: the same image, with tiles of 320 and of 160 (heads have 25 to 65 pixels). Of the heads that at least one
  tile cuts: how many were found once (one detection of score 0.5 with a mask IoU of 0.5), twice or more often, in
  pieces (no such detection, but two or more that lie in the head), or not. Beside it, the same heads in the image in
  one piece. Goal: none twice or in pieces, and as many found.
- loop: twelve images of 4,000 x 3,000 pixels, each of 100 scenes of 400 x 300, five classes; 6 to train on, 3 to
  validate, 3 to test, of 50, 20 and 30 different scenes. maskAL.py itself, with a scripted person who annotates what it
  asks for: 2 images to start from, 2 loops of 1 image. Tiles as in `cost`, 400 iterations of 2 tiles. Reported: its
  table. (Its first run had 60 iterations and a confidence_threshold of 0.5, at which so short a training detects
  nothing, and nothing was chosen; the second 0.05, and one loop.)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.annotations import read_annotation  # noqa: E402
from active_learning.annotations.contours import instance_bitmap  # noqa: E402
from active_learning.dataset.annotation_cache import AnnotationCache  # noqa: E402
from active_learning.dataset.coco import write_coco_json  # noqa: E402
from active_learning.dataset.image_folder import find_images  # noqa: E402
from active_learning.sampling.observations import Mask  # noqa: E402
from active_learning.settings import Settings  # noqa: E402
from active_learning.system.image_files import image_size  # noqa: E402
from active_learning.tiles.grid import Tile, tiles_of  # noqa: E402
from benchmarks.pairs import peak_kib  # noqa: E402
from benchmarks.pictures import read_picture  # noqa: E402
from benchmarks.stitched_scenes import HEAD, draw_scenes, stitch  # noqa: E402
from demo.heads import CLASSES  # noqa: E402

SMALL, LARGE = (160, 120), (400, 300)  # width, height of a scene
TILE, SEEN = 1000, 400
OVERLAP = 0.2
SCORE, IOU = 0.5, 0.5
GAP = 40


def network_file(out: Path, proposals: int) -> Path:
    """The network of start.pth, with proposals and detections for many more heads."""
    most = {
        "PRE_NMS_TOPK_TEST": 1000,
        "POST_NMS_TOPK_TEST": proposals,
        "PRE_NMS_TOPK_TRAIN": 500,
        "POST_NMS_TOPK_TRAIN": 300,
    }
    base = str(ROOT / "benchmarks" / "savings_network.yaml")
    document = {"_BASE_": base, "MODEL": {"RPN": most}, "TEST": {"DETECTIONS_PER_IMAGE": 1000}}
    path = out / f"network{proposals}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def config_of(out: Path, score: float, proposals: int = 1000, **values: Any) -> Any:
    from active_learning.network.network_config import network_config

    same: dict[str, Any] = {
        "network_config": str(network_file(out, proposals)),
        "pretrained_weights": "",
        "cuda_visible_devices": "cpu",
    }
    settings = Settings(**same, classes=(HEAD,), confidence_threshold=score, num_workers=0, precision="fp32", **values)
    return network_config(settings, settings.experiments()[0])


def in_tiles(size: int, seen: int) -> dict[str, Any]:
    return {"tile_size": size, "tile_overlap": OVERLAP, "image_min_size": seen, "image_max_size": seen}


def detect(cfg: Any, weights: Path, image: Path) -> Any:
    """Instances with `masks`."""
    from active_learning.network.model_input import TileInputs

    return _detector(cfg, weights).detect(TileInputs(image, cfg))


def _detector(cfg: Any, weights: Path) -> Any:
    from active_learning.network.inference_copy import for_inference
    from active_learning.network.prediction import load_network
    from active_learning.network.tiled_inference import TiledDetector

    return TiledDetector(for_inference(load_network(cfg, weights), cfg), cfg)


def measure(cfg: Any, weights: Path, image: Path) -> dict[str, float]:
    """Of this process: seconds, also those of the processor, and peak memory in MB of detecting in an image file."""
    from active_learning.network.model_input import TileInputs

    detector = _detector(cfg, weights)
    started = time.monotonic(), time.process_time()
    found = detector.detect(TileInputs(image, cfg))
    return {**_since(*started), "MB": peak_kib() / 1e3, "objects": len(found)}


def _since(clock: float, processor: float) -> dict[str, float]:
    return {"seconds": time.monotonic() - clock, "processor": time.process_time() - processor}


def measure_tiles(cfg: Any, weights: Path, image: Path) -> dict[str, float]:
    """The same of its tiles alone, which are read before."""
    from active_learning.network.model_input import TileInputs
    from active_learning.network.tiled_inference import TILES_AT_ONCE

    inputs = TileInputs(image, cfg)
    detector, tiles = _detector(cfg, weights), list(inputs)
    started = time.monotonic(), time.process_time()
    waiting, found = iter(tiles), 0
    while batch := list(islice(waiting, TILES_AT_ONCE)):
        found += sum(1 for _ in detector._in_tiles(batch, inputs))
    return {**_since(*started), "tiles": len(tiles), "objects": found}


def measure_files(cfg: Any, weights: Path, image: Path) -> dict[str, float]:
    """The same of its tiles as images of their own, in `tile_files`."""
    from active_learning.network.model_input import TileInputs

    detector, files = _detector(cfg, weights), sorted(tile_files(image).glob("*.png"))
    started = time.monotonic(), time.process_time()
    found = sum(len(detector.detect(TileInputs(file, cfg))) for file in files)
    return {**_since(*started), "tiles": len(files), "objects": found}


def tile_files(image: Path) -> Path:
    return image.with_name(f"{image.stem}_tiles")


def write_tiles(image: Path) -> None:
    pixels = read_picture(image)
    height, width = pixels.shape[:2]
    tile_files(image).mkdir()
    for number, tile in enumerate(tiles_of(height, width, TILE, OVERLAP)):
        x0, y0, x1, y1 = tile.bounds(height, width)
        cv2.imwrite(str(tile_files(image) / f"{number:03d}.png"), pixels[y0:y1, x0:x1])


def cost(out: Path, weights: Path) -> str:
    scenes = draw_scenes(out, LARGE, 100)
    for name in ("large.jpg", "large.tif"):
        if not (out / name).exists():
            print(name, stitch(scenes, 30, 30, out / name, one_class=True), "heads")
    if not (out / "tile.jpg").exists():
        cv2.imwrite(str(out / "tile.jpg"), read_picture(out / "large.jpg")[:TILE, :TILE])
    if not tile_files(out / "large.tif").exists():
        write_tiles(out / "large.tif")
    rows = []
    measures = [("one tile", "measure", "tile.jpg"), ("JPEG", "measure", "large.jpg"), ("TIFF", "measure", "large.tif")]
    measures += [("tiles in memory", "alone", "large.tif"), ("tiles in files", "files", "large.tif")]
    for what, how, image in measures:
        found = _in_a_process(out, weights, out / image, how)
        times = (f"{found[key]:.1f}" for key in ("seconds", "processor"))
        rows.append([what, found["objects"], *times, f"{found['MB']:.0f}" if "MB" in found else ""])
    return tabulate(rows, headers=["", "detections", "seconds", "of the processor", "peak MB"])


def _in_a_process(out: Path, weights: Path, image: Path, how: str) -> dict[str, float]:
    command = [sys.executable, __file__, how, "--image", str(image)]
    command += ["--out", str(out), "--weights", str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def average_precision(cfg: Any, weights: Path, folder: Path) -> float:
    """Mask AP in percent on the images of a folder."""
    from active_learning.network.evaluation import evaluate_weights
    from active_learning.network.training import register_dataset

    file = folder.with_suffix(".coco.json")
    write_coco_json(AnnotationCache(folder, (HEAD,)), find_images(folder), file)
    register_dataset(folder.name, file, folder, (HEAD,))
    (scores,) = evaluate_weights(cfg, weights, folder.name, [cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST])
    return scores.mask_ap


def stitched(out: Path) -> Path:
    """A folder of one image of 100 small scenes, beside one of the scenes."""
    scenes = draw_scenes(out, SMALL, 100)
    for number, path in enumerate(scenes):
        if not (out / "singles" / f"{number}.png").exists():
            stitch([path], 1, 1, out / "singles" / f"{number}.png", one_class=True)
    if not (out / "stitched" / "all.png").exists():
        stitch(scenes, 10, 10, out / "stitched" / "all.png", one_class=True)
    return out / "stitched"


ONE_PIECE = 1600


def ap(out: Path, weights: Path) -> str:
    folder = stitched(out)
    single = {"image_min_size": SMALL[1], "image_max_size": SMALL[0]}
    cases = [("single scenes", out / "singles", single), ("tiles of 320", folder, in_tiles(320, 320))]
    cases.append(("one piece", folder, in_tiles(ONE_PIECE, ONE_PIECE)))
    apart, piece = out / "apart", (SMALL[0] + GAP) * 10
    if not (apart / "all.png").exists():
        stitch(draw_scenes(out, SMALL, 100), 10, 10, apart / "all.png", one_class=True, gap=GAP)
    cases.append(("scenes apart, tiles of 320", apart, in_tiles(320, 320)))
    cases.append(("scenes apart, one piece", apart, in_tiles(piece, piece)))
    rows = [[what, average_precision(config_of(out, 0.05, **how), weights, place)] for what, place, how in cases]
    return tabulate(rows, headers=["", "mask AP"], floatfmt=".2f")


@dataclass(frozen=True)
class Head:
    mask: Mask
    is_cut: bool


def heads_of(image: Path, tiles: Sequence[Tile]) -> list[Head]:
    """Those annotated; `is_cut` where a tile holds a part of one."""
    height, width = image_size(image)
    found = []
    for one in read_annotation(image.with_suffix(".json"), image=image.name, size=(height, width)).instances:
        bitmap = instance_bitmap(one, height, width)
        mask = Mask.cut(bitmap.x, bitmap.y, bitmap.mask)
        x0, y0, x1, y1 = mask.bounds
        found.append(Head(mask, any(_cuts(tile.bounds(height, width), x0, y0, x1, y1) for tile in tiles)))
    return found


def _cuts(tile: tuple[int, int, int, int], x0: int, y0: int, x1: int, y1: int) -> bool:
    left, top, right, bottom = tile
    meets = x0 < right and x1 > left and y0 < bottom and y1 > top
    return meets and not (x0 >= left and x1 <= right and y0 >= top and y1 <= bottom)


def how_found(head: Head, masks: Sequence[Mask]) -> str:
    near = [mask for mask in masks if head.mask.intersection(mask)]
    same = sum(head.mask.iou(mask) >= IOU for mask in near)
    inside = sum(head.mask.intersection(mask) > mask.area / 2 for mask in near)
    if same:
        return "once" if same == 1 else "twice"
    return "in pieces" if inside > 1 else "not"


def borders(out: Path, weights: Path) -> str:
    image = stitched(out) / "all.png"
    masks = {
        size: detect(config_of(out, SCORE, **in_tiles(size, size)), weights, image).masks
        for size in (320, 160, ONE_PIECE)
    }
    rows = []
    for size in (320, 160):
        cut = [head for head in heads_of(image, tiles_of(1200, 1600, size, OVERLAP)) if head.is_cut]
        for what, found in (("tiles", masks[size]), ("one piece", masks[ONE_PIECE])):
            counts = Counter(how_found(head, found) for head in cut)
            rows.append([size, len(cut), what, *(counts[kind] for kind in ("once", "twice", "in pieces", "not"))])
    return tabulate(rows, headers=["tile", "heads cut", "seen in", "once", "twice", "in pieces", "not"])


class Person(threading.Thread):
    """Annotates what lies in the annotate folder."""

    def __init__(self, folder: Path, answers: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.answers = folder, answers

    def run(self) -> None:
        while True:
            time.sleep(1)
            for image in self.folder.glob("annotate/*.jpg"):
                shutil.copy(self.answers / f"{image.stem}.json", image.with_suffix(".json"))
                (self.folder / "annotate" / "DONE").touch()


def loop(out: Path, weights: Path) -> str:
    scenes, data, rng = draw_scenes(out, LARGE, 100), out / "loop", np.random.default_rng(0)
    shutil.rmtree(data, ignore_errors=True)
    of_split = {"train": scenes[:50], "val": scenes[50:70], "test": scenes[70:]}
    for number, split in enumerate(["train"] * 6 + ["val"] * 3 + ["test"] * 3):
        chosen = [of_split[split][index] for index in rng.integers(0, len(of_split[split]), 100)]
        stitch(chosen, 10, 10, data / split / f"field{number:02d}.jpg", one_class=False)
    (data / "answers").mkdir()
    for path in (data / "train").glob("*.json"):
        path.rename(data / "answers" / path.name)
    folders = {f"{split}dir": str(data / split) for split in ("train", "val", "test")}
    roots = {f"{root}root": str(data / root) for root in ("weights", "results", "data")}
    values = {**folders, **roots, **in_tiles(TILE, SEEN), "classes": list(CLASSES), "pretrained_weights": str(weights)}
    values |= {
        "network_config": str(network_file(out, 300)),
        "cuda_visible_devices": "cpu",
        "num_workers": 1,
        "loops": 2,
    }
    values |= {"initial_datasize": 2, "pool_size": 1, "mcd_iterations": 3, "train_iterations_base": 400, "seed": 0}
    values |= {
        "train_batch_size": 2,
        "eval_period": 200,
        "warmup_iterations": 20,
        "strategy": "uncertainty",
    }
    config = data / "maskAL.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    Person(data / "train", data / "answers").start()
    command = [sys.executable, str(ROOT / "maskAL.py"), "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    (data / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return "\n".join((done.stdout + done.stderr).splitlines()[-25:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    questions = {"cost": cost, "ap": ap, "borders": borders, "loop": loop}
    measures = {"measure": measure, "alone": measure_tiles, "files": measure_files}
    parser.add_argument("question", choices=(*questions, *measures))
    parser.add_argument("--weights", type=Path, required=True, help="that know heads (benchmarks/savings.py)")
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "run" / "tiles")
    parser.add_argument("--image", type=Path, help="of measure, alone and files, which cost starts as processes")
    given = parser.parse_args(arguments)
    out, weights = given.out.resolve(), given.weights.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if given.question in questions:
        print(questions[given.question](out, weights))
        return
    cfg = config_of(out, SCORE, 300, **in_tiles(TILE, SEEN))
    print(json.dumps(measures[given.question](cfg, weights, given.image)))


if __name__ == "__main__":
    main()
