"""What does working ahead save and cost? The scripted person needs as long for a batch as a training takes.

    python benchmarks/work_ahead.py --out DIR [--start WEIGHTS] [--seeds 3] [--iterations 20] [--device cpu]

Protocol, written before the first run.

- Data: the demo's heads, five classes, 160 x 120 pixels: 90 images to choose from, 10 to validate, 30 to test (drawn
  with seed 0). 20 images to start from, 4 loops of 10 chosen by `uncertainty`; trainings all of the same length (T),
  each from the weights of the one before. The first starts from --start, weights that know heads but not their classes
  (benchmarks/savings.py makes such), or from random ones.
- The person: the initial images are annotated beforehand. Of what lies in the annotate folder this one annotates an
  image after the other, evenly, so that a batch takes as long (A) as the last training took by then; puts DONE there;
  and is there at once when a new batch comes. Nobody sleeps, eats or hesitates.
- Runs: for each seed one without and one with work_ahead, in turn, each alone; through the program itself, whole.
- Measured: wall time from start to end; for each loop minutes trained, minutes that each side waited, mask AP on the
  test images (score threshold 0.05). Reported: each run; the ratio of wall times, and the difference of the last mAP,
  with its seeds.
- The first runs, of 20 iterations on a crowded machine, ended with a mAP of 8 and said little of either; so they were
  made again, each on one core of its own (taskset, OMP_NUM_THREADS=1): of 60 iterations for the times, and of 300 for
  the mAP, as what is chosen does not depend on how long anything took. Those are the ones kept.
- Added after the first runs, as other programs made the machine slower by up to six times now and then: the wall time
  of a run in mean trainings of that run, and the ratio of these.
- Expected: without, 5 T + 4 A; with, 5 T + A, as the images of loop 1 can only be annotated when there is a network,
  and those of loop l + 1 are annotated while loop l trains. With A = T that is 9 T and 6 T: 0.67. For n loops it is
  (n + 2) / (2 n + 1): 0.57 for ten, near a half for many. Start, evaluation and scoring are the same in both, so the
  ratio will be nearer to 1.
- The mAP: a choice by a network that is one training old may be worse. Three seeds show a large loss only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.run.state import RunState  # noqa: E402
from benchmarks.savings_data import drawn  # noqa: E402

IMAGES = {"train": 90, "val": 10, "test": 30}
INITIAL, POOL_SIZE, LOOPS = 20, 10, 4
POLL_SECONDS = 0.1
COLUMNS = (
    "iterations",
    "seed",
    "work_ahead",
    "loop",
    "images",
    "map",
    "train_minutes",
    "person_minutes",
    "computer_minutes",
)
SETTINGS: dict[str, Any] = {
    "num_workers": 0,
    "precision": "fp32",
    "network_config": str(ROOT / "benchmarks" / "savings_network.yaml"),
    "learning_rate": 0.02,
    "warmup_iterations": 10,
    "step_ratios": [0.8],
    "eval_period": 1_000_000,
    "train_batch_size": 4,
    "train_iterations_step_size": 0,
    "image_min_size": 120,
    "image_max_size": 160,
    "initial_datasize": INITIAL,
    "pool_size": POOL_SIZE,
    "loops": LOOPS,
    "mcd_iterations": 3,
    "images_without_detections": "choose",
}


class Person:
    """Annotates with the annotations that were taken away from a folder."""

    def __init__(self, folder: Path, answers: Path) -> None:
        self.annotate = folder / "annotate"
        self.answers = answers
        self.seconds_per_batch = 0.0
        self._next = 0.0

    def work(self, now: float) -> None:
        """Called again and again: saves an annotation whenever the next is due, and DONE after the last."""
        images = sorted(self.annotate.glob("*.jpg")) if self.annotate.is_dir() else []
        left = [image for image in images if not image.with_suffix(".json").exists()]
        if not images or (self.annotate / "DONE").exists():
            self._next = 0.0
        elif left and not self._next:  # a batch has come
            self._next = now + self.seconds_per_batch / len(images)
        elif left and now >= self._next:
            shutil.copyfile(self.answers / f"{left[0].stem}.json", left[0].with_suffix(".json"))
            self._next += self.seconds_per_batch / len(images)
        elif not left:
            (self.annotate / "DONE").touch()


def prepare(out: Path) -> tuple[Path, list[str]]:
    """The images, and the answers in a folder of their own; the classes."""
    data = drawn("demo_mild", out, IMAGES)
    answers = out / "answers"
    answers.mkdir(exist_ok=True)
    for path in (data.folder / "train").glob("*.json"):
        shutil.copyfile(path, answers / path.name)
    return data.folder, list(data.classes)


def run(out: Path, seed: int, given: argparse.Namespace, *, ahead: bool) -> tuple[float, RunState]:
    """Wall time in seconds and the state at the end.

    Raises:
        SystemExit: the run failed.
    """
    folder, classes = prepare(out)
    name = f"{'ahead' if ahead else 'plain'}{seed}"
    results, train = out / "results" / name / "uncertainty", folder / "train"
    _only_initial_annotated(train, out / "answers", seed)
    values = {
        **SETTINGS,
        **{f"{split}dir": str(folder / split) for split in IMAGES},
        **{root: str(out / place) for root, place in (("weightsroot", "weights"), ("resultsroot", "results"))},
        "dataroot": str(out / "lists"),
        "classes": classes,
        "experiment_name": name,
        "seed": seed,
        "work_ahead": ahead,
        "pretrained_weights": str(given.start or ""),
        "train_iterations_base": given.iterations,
        "cuda_visible_devices": given.device,
    }
    config = out / f"{name}.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    seconds = _run_with_person(config, Person(train, out / "answers"), results / "run_state.json")
    return seconds, RunState.load(results / "run_state.json")


def _only_initial_annotated(train: Path, answers: Path, seed: int) -> None:
    from active_learning.dataset.initial_images import sample_initial_images

    shutil.rmtree(train / "annotate", ignore_errors=True)
    images = sorted(path.name for path in train.glob("*.jpg"))
    initial = set(sample_initial_images(images, INITIAL, seed).names)
    for name in images:
        annotation = (train / name).with_suffix(".json")
        annotation.unlink(missing_ok=True)
        if name in initial:
            shutil.copyfile(answers / annotation.name, annotation)


def _run_with_person(config: Path, person: Person, state: Path) -> float:
    started = time.monotonic()
    command = [sys.executable, str(ROOT / "maskAL.py"), "--config", str(config), "--fresh"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with config.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        while process.poll() is None:
            if state.exists() and (history := json.loads(state.read_text(encoding="utf-8"))["history"]):
                person.seconds_per_batch = 60 * history[-1]["minutes"]
            person.work(time.monotonic())
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"The run failed; see {config.with_suffix('.log')}")
    return time.monotonic() - started


def rows(iterations: int, seed: int, ahead: bool, seconds: float, state: RunState) -> Iterator[list[object]]:
    for loop, one in enumerate(state.history):
        times = [f"{value:.3f}" for value in (one.minutes, *one.waiting)]
        scores = [loop, one.train_size, f"{one.standard_mask_ap:.2f}", *times, f"{seconds / 60:.3f}"]
        yield [iterations, seed, int(ahead), *scores]


def report(path: Path) -> str:
    """Every run in a table, and the two comparisons, for each length of the trainings."""
    with path.open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    text = (
        "# What working ahead saves\n\nMade by benchmarks/work_ahead.py, whose protocol says how. Times in minutes.\n"
    )
    for iterations in dict.fromkeys(row["iterations"] for row in read):
        rows_of_length = [row for row in read if row["iterations"] == iterations]
        text += f"\n## Trainings of {iterations} iterations\n\n{_section(rows_of_length)}\n"
    return text


def _section(rows: Sequence[Mapping[str, str]]) -> str:
    seeds = sorted({row["seed"] for row in rows})
    runs = {(s, a): [r for r in rows if (r["seed"], r["work_ahead"]) == (s, a)] for s in seeds for a in "01"}
    runs = {key: found for key, found in runs.items() if found}
    lines = [
        "| seed | work_ahead | wall time (min) | in trainings | trained | person waited | computer waited | last mAP |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (seed, ahead), found in sorted(runs.items()):
        sums = [sum(float(row[name]) for row in found) for name in COLUMNS[6:]]
        numbers = [float(found[-1]["wall_minutes"]), _in_trainings(found), *sums]
        cells = [seed, "True" if ahead == "1" else "False", *(f"{value:.2f}" for value in numbers), found[-1]["map"]]
        lines.append(f"| {' | '.join(cells)} |")
    pairs = [(runs[s, "1"], runs[s, "0"]) for s in seeds if (s, "0") in runs and (s, "1") in runs]
    return "\n".join([*lines, *(_comparison(pairs) if pairs else ())])


def _comparison(pairs: Sequence[tuple[Sequence[Mapping[str, str]], Sequence[Mapping[str, str]]]]) -> list[str]:
    """Of runs with work_ahead and those of the same seed without."""
    ratios = [float(ahead[-1]["wall_minutes"]) / float(plain[-1]["wall_minutes"]) for ahead, plain in pairs]
    fair = [_in_trainings(ahead) / _in_trainings(plain) for ahead, plain in pairs]
    last = [float(ahead[-1]["map"]) - float(plain[-1]["map"]) for ahead, plain in pairs]
    means = [_mean_map(ahead) - _mean_map(plain) for ahead, plain in pairs]
    return [
        f"\nWall time with work_ahead beside without: {_mean_of(ratios, '.2f')}.",
        "\nThe same in mean trainings of the run, fair where the machine is slower for a while: "
        f"{_mean_of(fair, '.2f')}. Of trainings and batches of one length alone it would be {_bound(LOOPS):.2f}, for "
        f"ten loops {_bound(10):.2f}, for many near 0.5.",
        f"\nLast mAP with work_ahead less that without: {_mean_of(last, '+.1f')}; mean over the loops: "
        f"{_mean_of(means, '+.1f')}.",
    ]


def _mean_map(rows: Sequence[Mapping[str, str]]) -> float:
    """Over the loops with chosen images."""
    return sum(float(row["map"]) for row in rows[1:]) / (len(rows) - 1)


def _in_trainings(rows: Sequence[Mapping[str, str]]) -> float:
    """Wall time of a run in mean trainings of that run: a machine that is slower for a while makes both longer."""
    return float(rows[-1]["wall_minutes"]) * len(rows) / sum(float(row["train_minutes"]) for row in rows)


def _bound(loops: int) -> float:
    return (loops + 2) / (2 * loops + 1)


def _mean_of(values: Sequence[float], form: str) -> str:
    return f"{sum(values) / len(values):{form}} (seeds: {', '.join(f'{value:{form}}' for value in values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="images, weights and results of the runs")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=20, help="of a training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / "work_ahead.csv"
    done = path.read_text(encoding="utf-8") if path.exists() else f"{','.join(COLUMNS)},wall_minutes\n"
    for seed, ahead in ((seed, ahead) for seed in range(given.seeds) for ahead in (False, True)):
        if f"\n{given.iterations},{seed},{int(ahead)}," in done:
            continue
        found = rows(given.iterations, seed, ahead, *run(given.out.resolve(), seed, given, ahead=ahead))
        done += "".join(f"{','.join(map(str, row))}\n" for row in found)
        path.write_text(done, encoding="utf-8")
    path.with_suffix(".md").write_text(report(path), encoding="utf-8")
    print(report(path))


if __name__ == "__main__":
    main()
