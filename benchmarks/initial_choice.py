"""Does `initial_choice: diverse` give a better first network than images sampled at random?

    python benchmarks/initial_choice.py [--photographs FOLDER --weights FILE] [--seeds 10]

The protocol, written before the first run:

- Data: (a) 1,000 drawn images of 160 x 120 pixels, of whose objects 60, 20, 12, 6 and 2 % are of each class
  (demo_imbalanced of savings_data.py), with 60 images to validate and 200 to test on; (b) with --photographs a folder
  as photographs.py splits it (tofu_tempe: 129 images to choose from, 50 to validate and 64 to test on).
  Weights to start from: (a) a network that was trained on other drawn images, in which all heads are of one class, for
  800 iterations; (b) the ImageNet weights that are given, ResNet-18 to res4.
- Each run is maskAL.py with `loops: 0`: (a) 40 images, (b) 20 images, of 160 and 192 pixels; 400 iterations of batches
  of 2, learning rate 0.01, a tenth of it in the last fifth. Both kinds of choice leave out near-duplicates, as the
  program does by itself. Nothing of the program is replaced.
- Seeds 0 to 9, for each both choices one after the other, (a) and (b) in turn: what is there after a while is paired.
- Measured: mask mAP on the test images at score threshold 0.05, after loop 0. The outcome is `diverse` minus `random`,
  mean over the seeds, with its 95 % interval by bootstrap over seeds and a two-sided p of random signs. Beside it: the
  objects of the initial images, and how many classes these hold.
- A difference counts if its interval does not hold 0. If the time ends before the runs do, the seeds that are whole are
  reported, and their number. Runs that fail are lines of the csv, too.

Raw results: results/initial_choice.csv, a line a run, added as it ends; a study that was stopped goes on with the same
command. The table: results/initial_choice.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.report.comparison_tables import with_interval  # noqa: E402
from active_learning.report.curves import Curve, interval  # noqa: E402
from active_learning.run.state import RunState  # noqa: E402
from active_learning.system.files import copy_atomically, write_atomically  # noqa: E402
from benchmarks.gains import RANDOM, read_rows, sign_flip_p  # noqa: E402
from benchmarks.photographs import photographs  # noqa: E402
from benchmarks.savings_data import (  # noqa: E402
    START_IMAGES,
    complete_weights,
    drawn,
    keep_only,
    start_images,
)
from benchmarks.savings_runs import DONE, Results, Study, run_or_stop, score_columns, write_settings  # noqa: E402

CHOICES = (RANDOM, "diverse")
NETWORKS = ROOT / "benchmarks"
DRAWN = "demo_imbalanced"
IMAGES = {"train": 1000, "val": 60, "test": 200}
ITERATIONS, START_ITERATIONS = 400, 800
SIZES = {True: (120, 160), False: (192, 192)}  # of drawn images, of photographs: shortest and longest side
INITIAL = {True: 40, False: 20}
SCORES = ("objects", "training_seconds", "mAP", "mAP_at_0.5")
COLUMNS = ("data", "initial_choice", "seed", "images", *SCORES, "classes_present", "seconds", "status")


@dataclass(frozen=True)
class Run:
    study: Study
    choice: str
    seed: int

    @property
    def key(self) -> tuple[str, str, str]:
        """As the csv has it."""
        return self.study.data.name, self.choice, str(self.seed)


def drawn_study(out: Path) -> Study:
    """Draws the images and trains the network to start from, where they are not there yet."""
    study = _study(drawn(DRAWN, out, IMAGES), out, "savings_network.yaml", is_drawn=True)
    start = out / "start" / "start.pth"
    if not start.exists():
        heads = replace(study, data=start_images(start.parent, START_IMAGES), out=start.parent, initial=600)
        once: dict[str, Any] = {
            "network_config": str(NETWORKS / "savings_start_network.yaml"),
            "train_iterations_base": START_ITERATIONS,
            "train_batch_size": 4,
            "learning_rate": 0.02,
            "strategy": RANDOM,
            "loops": [0],
            "pool_size": [1],
        }
        if run_or_stop(write_settings(heads, "start", **once)):
            raise SystemExit(f"The network to start from could not be trained; see {start.parent / 'settings'}")
        copy_atomically(start.parent / "weights" / "start" / RANDOM / "model_final.pth", start)
    return replace(study, settings={**study.settings, "pretrained_weights": str(start)})


def photograph_study(folder: Path, out: Path, weights: Path) -> Study:
    study = _study(photographs(folder, out), out, "savings_network_resnet18.yaml", is_drawn=False)
    start = out / "start.pth"
    if not start.exists():
        complete_weights(weights, write_settings(study, "start", strategy=RANDOM), start)
    return replace(study, settings={**study.settings, "pretrained_weights": str(start)})


def _study(data: Any, out: Path, network: str, *, is_drawn: bool) -> Study:
    shortest, longest = SIZES[is_drawn]
    settings = {
        "network_config": str(NETWORKS / network),
        "pretrained_weights": "",
        "cuda_visible_devices": "cpu",
        "image_min_size": shortest,
        "image_max_size": longest,
        "train_iterations_base": ITERATIONS,
        "train_batch_size": 2,
        "learning_rate": 0.01,
        "step_image_number": 1_000_000,
    }
    return Study(data, out, INITIAL[is_drawn], (), settings)


def run_one(run: Run) -> dict[str, object]:
    """A line of the csv."""
    study, name = run.study, f"{run.choice}_seed{run.seed}"
    changes: dict[str, Any] = {"strategy": RANDOM, "seed": run.seed, "loops": [0], "pool_size": [1]}
    config = write_settings(study, name, initial_choice=run.choice, **changes)
    start = time.monotonic()
    code = run_or_stop(config)
    line: dict[str, object] = dict(zip(COLUMNS, run.key, strict=False))
    line |= {"seconds": f"{time.monotonic() - start:.1f}", "status": f"failed: exit code {code}"}
    keep_only(study.out / "weights" / name / RANDOM)
    if code:
        return line
    scores = RunState.load(study.out / "results" / name / RANDOM / "run_state.json").history[0]
    present = sum(count > 0 for count in scores.objects.values())
    return {**line, "images": scores.train_size, **score_columns(study, scores), "classes_present": present}


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown: a line a data set, of the seeds that have both choices."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        by_choice = {
            choice: {int(row["seed"]): row for row in rows if (row["data"], row["initial_choice"]) == (data, choice)}
            for choice in CHOICES
        }
        if seeds := sorted(set(by_choice[CHOICES[0]]) & set(by_choice[CHOICES[1]])):
            lines.append([data, len(seeds), *_cells([[by_choice[one][seed] for seed in seeds] for one in CHOICES])])
    headers = ["data", "seeds", "mAP, random", "mAP, diverse", "difference", "p", "objects", "classes present"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True, stralign="right") + "\n"


def _cells(pairs: Sequence[Sequence[Mapping[str, str]]]) -> Iterator[str]:
    """Of the rows of random and of diverse, in order of the same seeds."""

    def of(column: str) -> list[np.ndarray]:
        return [np.array([[float(row[column])] for row in rows]) for rows in pairs]

    seeds = tuple(int(row["seed"]) for row in pairs[0])
    random, diverse = (
        Curve(choice, np.array([0.0]), scores, seeds) for choice, scores in zip(CHOICES, of("mAP"), strict=True)
    )
    for curve in (random, diverse):
        yield with_interval(interval(lambda mine: float(mine[0]), curve), "{:.1f}")
    yield with_interval(interval(lambda mine, other: float(mine[0] - other[0]), diverse, random), "{:+.1f}")
    # `sign_flip_p` leaves the initial training out, which is all there is here.
    twice = [replace(curve, values=np.repeat(curve.values, 2, axis=1)) for curve in (diverse, random)]
    yield f"{sign_flip_p(*twice):.3f}"
    for column in ("objects", "classes_present"):
        yield "; ".join(f"{values.mean():.1f}" for values in of(column))


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    studies = [drawn_study(given.out / DRAWN)]
    if given.photographs:
        studies.append(photograph_study(given.photographs, given.out / given.photographs.name, given.weights))
    results = Results(given.results / "initial_choice.csv", COLUMNS)
    done = {tuple(row[name] for name in COLUMNS[:3]) for row in read_rows(results.path) if row["status"] == DONE}
    runs = [Run(study, choice, seed) for seed in range(given.seeds) for study in studies for choice in CHOICES]
    for run in runs:
        if run.key not in done:
            results.add([run_one(run)])
    text = table([row for row in read_rows(results.path) if row["status"] == DONE])
    write_atomically(results.path.with_suffix(".md"), text)
    print(text)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--photographs", type=Path, help="a folder of annotated photographs")
    add("--weights", type=Path, help="of ResNet-18 to res4, for the photographs to start from")
    add("--seeds", type=int, default=10)
    add("--out", type=Path, default=ROOT / "demo" / "run" / "initial_choice", help="images, weights, results of runs")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results", help="for csv and table")
    parsed = parser.parse_args(arguments)
    if parsed.photographs and not parsed.weights:
        parser.error("--photographs needs --weights")
    return parsed


if __name__ == "__main__":
    main()
