"""How many annotations does choosing save? MaskAL's strategies against random images on the demo data.

    python benchmarks/savings.py [--out FOLDER] [--seeds N] [--loops N] [--jobs N]

Draws the data set, runs every strategy with every seed, and writes into benchmarks/results: savings.csv (raw: a line a
run and loop), savings_comparison.csv, savings.svg and savings.md. A run that was stopped goes on with the same command.
As it stands it takes two CPU cores two to three hours. `--quick` is a small form that shows that all of it works;
its numbers mean nothing, so it writes them into its own folder only.

Users start from weights that know objects, but not their classes. So does the study: all runs start from a network
that is trained on other drawn images, in which every head is of one class. What is left to learn is what the classes
look like, of which two are rare.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from active_learning.report.comparison import Comparison
    from active_learning.report.runs import RunResult

STRATEGIES = ["uncertainty", "hybrid", "bald", "class_balanced", "random"]
START = "start"
ANCHORS = [[14], [29], [48], [67], [86]]  # 0.6 times those of the demo


@dataclass(frozen=True)
class Study:
    """Sizes of the study; `images` of each split, `settings` replace keys of demo/demo.yaml."""

    images: dict[str, int]
    start_images: int  # that the network to start from is trained on
    start_iterations: int
    seeds: int
    loops: int
    settings: dict[str, object]


FULL = Study(
    images={"train": 300, "val": 10, "test": 100},
    start_images=200,
    start_iterations=400,
    seeds=5,
    loops=3,
    settings={
        "initial_datasize": 40,
        "pool_size": 20,
        "mcd_iterations": 10,
        "train_iterations_base": 80,
        "image_min_size": 144,
        "image_max_size": 192,
    },
)
QUICK = Study(
    images={"train": 14, "val": 2, "test": 4},
    start_images=8,
    start_iterations=4,
    seeds=2,
    loops=1,
    settings={
        "initial_datasize": 6,
        "pool_size": 3,
        "mcd_iterations": 2,
        "train_iterations_base": 4,
        "train_batch_size": 2,
        "confidence_threshold": 0.0,  # so little training leaves no object above more
        "images_without_detections": "choose",
        "image_min_size": 64,
        "image_max_size": 96,
    },
)


def draw_images(out: Path, images: dict[str, int], seed: int = 0) -> None:
    options = {"--images": images["train"], "--val": images["val"], "--test": images["test"], "--seed": seed}
    sizes = [argument for option, count in options.items() for argument in (option, str(count))]
    call = [sys.executable, str(ROOT / "demo" / "make_dataset.py"), "--out", str(out), *sizes]
    subprocess.run(call, check=True)


def write_network(path: Path, frozen_stages: int) -> str:
    """The demo's network for images of 0.6 times the size."""
    model = {"ANCHOR_GENERATOR": {"SIZES": ANCHORS}, "BACKBONE": {"FREEZE_AT": frozen_stages}}
    values = {"_BASE_": str(ROOT / "demo" / "network.yaml"), "MODEL": model}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


def write_settings(out: Path, name: str, data: Path, **changes: object) -> Path:
    """Settings of one experiment. Each has its own dataroot, so that experiments can run side by side."""
    values = yaml.safe_load((ROOT / "demo" / "demo.yaml").read_text(encoding="utf-8"))
    values.update(
        weightsroot=str(out / "weights"),
        resultsroot=str(out / "results"),
        dataroot=str(out / "lists" / name),
        traindir=str(data / "train"),
        valdir=str(data / "val"),
        testdir=str(data / "test"),
        experiment_name=name,
    )
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return path


def start_weights(out: Path, study: Study) -> Path:
    """Trains the network that knows heads but not their classes, or finds it."""
    data, count = out / "start_datasets", study.start_images
    draw_images(data, {"train": count, "val": 2, "test": 2}, seed=1)
    for path in data.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'"label": "\w+"', '"label": "head"', text), encoding="utf-8")
    once = {"initial_datasize": count, "loops": 0, "train_iterations_base": study.start_iterations}
    only_class = {"classes": ["head"], "minority_classes": [], "train_sampler": "TrainingSampler"}
    network = {"network_config": write_network(out / "network.yaml", frozen_stages=0)}
    config = write_settings(out, START, data, **{**study.settings, **once, **only_class, **network})
    if run(config):
        raise SystemExit(f"The network to start from could not be trained; see {config.with_suffix('.log')}")
    weights = out / "weights" / START / "uncertainty"
    best = weights / "best_model_000.pth"  # is not there where no validation image got an AP, as in the quick form
    return best if best.exists() else weights / "model_final.pth"


def run(config: Path) -> int:
    """Exit code of the run; what it says goes into a file beside its settings."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with config.with_suffix(".log").open("a", encoding="utf-8") as log:
        call = [sys.executable, str(ROOT / "maskAL.py"), "--config", str(config)]
        return subprocess.run(call, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


def run_all(out: Path, study: Study, jobs: int) -> None:
    start = start_weights(out, study)
    data = out / "datasets"
    draw_images(data, study.images)
    # frozen as Detectron2 does when it starts from weights
    network = write_network(out / "frozen_network.yaml", frozen_stages=2)
    changes = {**study.settings, "pretrained_weights": str(start), "network_config": network}
    configs = [
        write_settings(out, f"seed{seed}", data, **changes, strategy=STRATEGIES, seed=[seed], loops=study.loops)
        for seed in range(study.seeds)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(run, configs))
    failed = [config.with_suffix(".log") for config, code in zip(configs, codes, strict=True) if code]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(codes)} seeds failed; see {', '.join(map(str, failed))}")


def raw_csv(runs: Sequence[RunResult]) -> str:
    """A line a run and loop: all that the table and the figure are made of."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = runs[0].classes
    writer.writerow(["strategy", "seed", "train_size", "mAP", "mAP_at_0.05", *(f"mAP-{name}" for name in classes)])
    for run in runs:
        for row in run.scores:
            scores = [row.mask_ap, row.standard_mask_ap, *(row.per_class[name] for name in classes)]
            writer.writerow([run.label, run.seed, row.train_size, *(f"{score:.2f}" for score in scores)])
    return text.getvalue()


def markdown(study: Study, rows: Sequence[Comparison]) -> str:
    from tabulate import tabulate

    from active_learning.report.comparison import HEADERS, table_rows

    sizes = ", ".join(f"{count} {split}" for split, count in study.images.items())
    table = tabulate(table_rows(rows), headers=HEADERS, tablefmt="pipe", disable_numparse=True, stralign="right")
    keys = ", ".join(f"{key} {value}" for key, value in study.settings.items())
    about = f"Demo data ({sizes} images), {study.seeds} seeds, {study.loops} loops, {keys}."
    return f"{about}\nIn brackets: 95 % intervals by bootstrap over seeds.\n\n{table}\n"


def figure(runs: Sequence[RunResult]) -> str:
    """The learning curves as a file of their own, in the colours of the report."""
    from active_learning.report import figures, page
    from active_learning.report.curves import map_curve
    from active_learning.report.runs import by_label

    curves = [map_curve(same) for same in by_label(runs).values()]
    styles = page.strategy_styles(runs)
    svg = figures.learning_curves(curves, styles, name="savings", description="mAP against images", legend=True)
    css = (ROOT / "active_learning" / "report" / "report.css").read_text(encoding="utf-8")
    variables = css[: css.index("* {")]
    style = f"<style>{variables} svg {{ background: var(--page); font-family: sans-serif; }}</style>"
    return re.sub(r"<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', svg, count=1).replace(">", f">{style}", 1)


def write_results(target: Path, out: Path, study: Study) -> None:
    from active_learning.report.comparison import as_csv, compare
    from active_learning.report.runs import read_runs
    from active_learning.system.files import write_atomically

    folders = (out / "results" / f"seed{seed}" for seed in range(study.seeds))
    # an earlier study in the same folder may have had more loops
    runs = [replace(run, scores=run.scores[: study.loops + 1]) for run in read_runs(*folders)]
    rows = compare(runs)
    write_atomically(target / "savings.csv", raw_csv(runs))
    write_atomically(target / "savings_comparison.csv", as_csv(rows))
    write_atomically(target / "savings.svg", figure(runs) + "\n")
    write_atomically(target / "savings.md", markdown(study, rows))
    print(markdown(study, rows))
    print(f"Written to {target}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "run" / "savings", help="data, weights, results")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--loops", type=int)
    parser.add_argument("--jobs", type=int, default=2, help="seeds that run at a time, each on one CPU thread")
    parser.add_argument("--quick", action="store_true", help="minutes instead of a night; shows that it works")
    parsed = parser.parse_args(arguments)
    base = QUICK if parsed.quick else FULL
    seeds, loops = parsed.seeds or base.seeds, parsed.loops or base.loops
    study = replace(base, seeds=seeds, loops=loops)
    out = (parsed.out / "quick" if parsed.quick else parsed.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    run_all(out, study, parsed.jobs)
    write_results(out if parsed.quick else ROOT / "benchmarks" / "results", out, study)


if __name__ == "__main__":
    main()
