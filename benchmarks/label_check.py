"""Does the label check find wrong annotations? Known ones are put into annotations, and looked for.

    python benchmarks/label_check.py --data demo [--share 0.05]
    python benchmarks/label_check.py --data FOLDER --weights FILE [--share 0.05]

The protocol, written before the runs whose figures are reported. What came before it is the laboratory: on the same
two data sets, with networks trained at a share of 5 %, the priors of error_models.py and judge.py were set, and
what is compared. The shares 2 % and 10 % were not looked at with networks of their own.

- Data: `demo` draws 1,000 images of the demo's heads (160 x 120 pixels, five classes; 500 for training, 150 for
  validation, 350 for testing). A folder is split as benchmarks/photographs.py has it; of `tofu_tempe`
  129, 50 and 64 photographs, ten classes of food that look alike; --weights are those of a ResNet-18 to begin from.
- The share s of the objects is corrupted by corrupt_annotations.py: swapped class, deleted, shifted, shrunken,
  added object, in equal parts. The images that the network is trained on are corrupted so, and validation and test
  images, too: nobody has right ones.
- A network is trained by the program itself (maskAL.py, `loops: 0`) on 200 drawn images, or 97 photographs, sampled
  at random; the other training images are a batch that it has not been trained on. It makes 10 forward passes over
  batch, validation and test images, in which nothing depends on annotations. These are then corrupted with 10 seeds
  each: all kinds at once, and each kind alone, and the program's own functions (compare, judge, ranked) find what
  looks wrong. So what varies is which objects are wrong, not the training.
- A finding is right if it names a corrupted object, whatever its kind, or, of a deleted one, a missing object whose
  box overlaps the deleted one's with an IoU of 0.5 or more; of a shifted or shrunken one also a missing object at
  the place. All else counts as wrong, errors of the data set itself, too.
- Measured, means over the seeds: precision among the first 20 and 50 (of all kinds in one ranking, and of the first
  20 of the kind of finding that belongs to a kind of corruption), the most that is possible where fewer are
  corrupted; precision and recall of what is listed as likely (certainty 0.5) and of all that is listed.
- Goal: precision among the first 20 at least 0.8 for swapped classes and deleted objects, recall at least 0.7 at 5
  %.

Results go to benchmarks/results/label_check.csv, a line a share, mix and seed.
"""

from __future__ import annotations

import argparse
import pickle
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.annotations import Annotation  # noqa: E402
from active_learning.annotations.coco import coco_image  # noqa: E402
from active_learning.annotations.odd_objects import LIKELY  # noqa: E402
from active_learning.label_check.comparison import ObservedObject, compare, observe  # noqa: E402
from active_learning.label_check.findings import LISTED  # noqa: E402
from active_learning.label_check.judge import Suspicion, judge  # noqa: E402
from active_learning.label_check.passes import ComparedImage, labelled_objects  # noqa: E402
from active_learning.settings import load_settings  # noqa: E402
from benchmarks import savings  # noqa: E402
from benchmarks.corrupt_annotations import KINDS, Box, Corruption, corrupt, read_folder, write_folder  # noqa: E402
from benchmarks.photographs import photographs  # noqa: E402
from benchmarks.savings_data import SHARES_OF, Data, complete_weights, draw  # noqa: E402
from benchmarks.savings_runs import Results, Study, run_or_stop, write_settings  # noqa: E402
from demo.heads import CLASSES  # noqa: E402

DRAWN = {"train": 500, "val": 150, "test": 350}
TRAINED = {True: 200, False: 97}  # images: drawn, photographs
ITERATIONS = {True: 800, False: 600}
SIZES = {True: (120, 160), False: (256, 256)}
SEEN_FROM = 0.05
AT_THE_PLACE = {"deleted": 0.5, "shifted": 0.3, "shrunken": 0.3}  # IoU of boxes of a missing object and a corruption
PASSES, SEEDS = 10, 10
FOUND_AS = {
    "swapped": "other class",
    "deleted": "missing object",
    "shifted": "poor outline",
    "shrunken": "poor outline",
    "added": "not an object",
}
OF_ALL = ("objects", "corrupted", "precision_20", "precision_50", "most_20", "most_50")
OF_LISTS = ("likely", "precision_likely", "listed", "precision_listed")
OF_KINDS = ("corrupted", "precision_20", "recall_likely", "recall_listed")
BY_KIND = tuple(f"{what}_{kind}" for kind in KINDS for what in OF_KINDS)
COLUMNS = ("data", "share", "corrupted_kinds", "seed", *OF_ALL, *OF_LISTS, *BY_KIND)
Place = tuple[str, str]  # split and image


@dataclass(frozen=True)
class Seen:
    """What the passes see in an image; depends on no annotation."""

    height: int
    width: int
    observed: list[ObservedObject]


def prepare(data: str, out: Path) -> Data:
    """Images with right annotations."""
    if data != "demo":
        return photographs(Path(data), out)
    draw(out / "datasets", DRAWN, seed=0, shares=SHARES_OF["demo_mild"])
    return Data("demo", out / "datasets", CLASSES)


def trained(data: Data, share: float, out: Path, weights: Path, *, is_drawn: bool) -> tuple[Path, list[str]]:
    """The settings of a run that has trained on corrupted annotations, and the training images that it left out."""
    names = sorted(read_folder(data.folder / "train"))
    random.Random(0).shuffle(names)
    training, batch = names[: TRAINED[is_drawn]], sorted(names[TRAINED[is_drawn] :])
    for seed, split in enumerate(("train", "val", "test")):
        annotations = read_folder(data.folder / split)
        kept = {name: annotations[name] for name in (sorted(training) if split == "train" else annotations)}
        corrupted, _ = corrupt(kept, data.classes, share, KINDS, seed)
        write_folder(data.folder / split, out / "datasets" / split, corrupted)
    short, long = SIZES[is_drawn]
    network = "savings_network.yaml" if is_drawn else "savings_network_resnet18.yaml"
    study = Study(Data(data.name, out / "datasets", data.classes), out, len(training), (1,), {
        "image_min_size": short, "image_max_size": long, "train_iterations_base": ITERATIONS[is_drawn],
        "step_image_number": 1_000_000, "network_config": str(ROOT / "benchmarks" / network),
        "cuda_visible_devices": "cpu", "pretrained_weights": str(weights),
    })  # fmt: skip
    config = write_settings(study, "trained", strategy="random", seed=0, pool_size=[1], loops=[0], label_check=False)
    if not list((out / "weights").rglob("best_model_000.pth")) and run_or_stop(config):
        raise SystemExit(f"The training failed; see {config.with_suffix('.log')}")
    return config, batch


def look(config: Path, images: Mapping[Place, Path]) -> dict[Place, Seen]:
    """The forward passes over all images."""
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.network_config import network_config
    from active_learning.network.prediction import load_network, read_input

    settings = load_settings(config)
    cfg = network_config(settings, settings.experiments()[0])
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = SEEN_FROM
    (weights,) = settings.weightsroot.rglob("best_model_000.pth")
    sampler = MonteCarloDropout(load_network(cfg, weights), cfg, passes=PASSES, seed=0)
    found = {}
    for place, path in images.items():
        passes = sampler.forward_passes(path.name, read_input(path, cfg))
        observed = observe(passes.passes, settings.iou_thres)
        found[place] = Seen(passes.image_height, passes.image_width, observed)
    return found


def compared(annotation: Annotation, place: Place, seen: Seen, classes: Sequence[str]) -> ComparedImage:
    kept = replace(annotation, instances=tuple(one for one in annotation.instances if one.label in classes))
    matches = compare(labelled_objects(coco_image(kept), classes), seen.observed, len(classes))
    return ComparedImage(*place, seen.height, seen.width, tuple(matches))


def ranking(images: Sequence[ComparedImage], classes: int) -> list[Suspicion]:
    """The surest first, one an object."""
    kept: dict[tuple[object, ...], Suspicion] = {}
    for one in sorted(judge(images, classes), key=lambda one: -one.certainty):
        place = one.match.number if one.match.number >= 0 else one.match.box
        kept.setdefault((one.image.split, one.image.name, place), one)
    return [one for one in kept.values() if one.certainty >= LISTED / 100]


def named_by(one: Suspicion, done: Mapping[Place, Sequence[tuple[int, Corruption]]]) -> int:
    """The number of the corruption that a finding names, -1 for none."""
    for number, corruption in done.get((one.image.split, one.image.name), ()):
        if one.match.number >= 0:
            if one.match.number == corruption.number:
                return number
        elif box_iou(one.match.box, corruption.box) >= AT_THE_PLACE.get(corruption.kind, 2.0):
            return number
    return -1


def box_iou(one: Iterable[float], other: Box) -> float:
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one, other
    shared = max(min(a1, c1) - max(a0, c0), 0) * max(min(b1, d1) - max(b0, d0), 0)
    return shared / ((a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared)


@dataclass(frozen=True)
class Trial:
    """Right annotations with what the passes see in the images, and how they look side by side."""

    annotations: Mapping[Place, Annotation]
    seen: Mapping[Place, Seen]
    right: Mapping[Place, ComparedImage]
    classes: Sequence[str]

    def run(self, share: float, kinds: Sequence[str], seed: int) -> dict[str, Any]:
        """A line of the csv."""
        images, done = dict(self.right), defaultdict[Place, list[tuple[int, Corruption]]](list)
        numbered: list[Corruption] = []
        for offset, split in enumerate(("train", "val", "test")):
            own = {name: one for (of, name), one in self.annotations.items() if of == split}
            corrupted, corruptions = corrupt(own, self.classes, share, kinds, 1000 * (seed + 1) + offset)
            for one in corruptions:
                done[split, one.image].append((len(numbered), one))
                numbered.append(one)
            for name in {one.image for one in corruptions}:
                images[split, name] = compared(corrupted[name], (split, name), self.seen[split, name], self.classes)
        found = ranking(list(images.values()), len(self.classes))
        return figures(found, [named_by(one, done) for one in found], numbered)


def figures(found: Sequence[Suspicion], named: Sequence[int], corruptions: Sequence[Corruption]) -> dict[str, Any]:
    right = [number >= 0 for number in named]
    line: dict[str, Any] = {"corrupted": len(corruptions)}
    for first in (20, 50):
        line |= {f"precision_{first}": _mean(right[:first]), f"most_{first}": min(len(corruptions) / first, 1.0)}
    reached: dict[str, set[int]] = {}
    for name, certainty in (("likely", LIKELY), ("listed", LISTED)):
        count = sum(one.certainty >= certainty for one in found)
        line |= {name: count, f"precision_{name}": _mean(right[:count])}
        reached[name] = {number for number in named[:count] if number >= 0}
    for kind in {one.kind for one in corruptions}:
        of_kind = {number for number, one in enumerate(corruptions) if one.kind == kind}
        of_finding = [yes for yes, one in zip(right, found, strict=True) if one.kind == FOUND_AS[kind]]
        line |= {f"corrupted_{kind}": len(of_kind), f"precision_20_{kind}": _mean(of_finding[:20])}
        line |= {f"recall_{name}_{kind}": len(of_kind & numbers) / len(of_kind) for name, numbers in reached.items()}
    return line


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    is_drawn, name = given.data == "demo", "demo" if given.data == "demo" else Path(given.data).name
    out = (given.out or ROOT / "demo" / "run" / "label_check" / name).resolve()
    data = prepare(given.data, out)
    start = given.start or _start_weights(data, out, given.weights, is_drawn=is_drawn)
    results = Results(given.results, COLUMNS)
    for share in given.share:
        config, batch = trained(data, share, out / f"share{share:g}", start, is_drawn=is_drawn)
        trial = _trial(data, config, batch, out / f"share{share:g}" / "seen.pickle")
        objects = sum(len(one.instances) for one in trial.annotations.values())
        for kinds in (KINDS, *((kind,) for kind in KINDS)):
            mix = "all" if len(kinds) > 1 else kinds[0]
            head = {"data": name, "share": share, "corrupted_kinds": mix, "objects": objects}
            results.add([{**head, "seed": seed, **_rounded(trial.run(share, kinds, seed))} for seed in range(SEEDS)])


def _rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}


def _trial(data: Data, config: Path, batch: Sequence[str], cache: Path) -> Trial:
    annotations: dict[Place, Annotation] = {}
    for split in ("train", "val", "test"):
        for name, one in read_folder(data.folder / split).items():
            if split != "train" or name in batch:
                kept = tuple(each for each in one.instances if each.label in data.classes)
                annotations[split, name] = replace(one, instances=kept)
    if not cache.exists():
        paths = {(split, name): data.folder / split / name for split, name in annotations}
        cache.write_bytes(pickle.dumps(look(config, paths)))
    seen = pickle.loads(cache.read_bytes())  # noqa: S301 (this script wrote it)
    right = {place: compared(one, place, seen[place], data.classes) for place, one in annotations.items()}
    return Trial(annotations, seen, right, data.classes)


def _start_weights(data: Data, out: Path, weights: Path | None, *, is_drawn: bool) -> Path:
    if is_drawn:
        study = savings.prepare("demo_mild", out / "start", None, "cpu")
        return Path(study.settings["pretrained_weights"])
    if weights is None:
        raise SystemExit("--weights is needed for photographs")
    if not (target := out / "start.pth").exists():
        network = str(ROOT / "benchmarks" / "savings_network_resnet18.yaml")
        study = Study(data, out, 1, (1,), {"network_config": network, "pretrained_weights": ""})
        complete_weights(weights, write_settings(study, "start", strategy="random"), target)
    return target


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="demo", help="demo, or a folder of annotated photographs")
    add("--weights", type=Path, help="of ResNet-18 to res4 (backbone.bottom_up.*), to start from; for photographs")
    add("--start", type=Path, help="whole weights to start from, in place of both")
    add("--share", type=float, nargs="+", default=[0.02, 0.05, 0.1], help="of the objects that are corrupted")
    add("--out", type=Path, help="images, weights, passes (default demo/run/label_check/<data>)")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results" / "label_check.csv")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
