"""How many annotations does choosing save? MaskAL's strategies against random images, through the program itself.

    python benchmarks/savings.py --data demo_imbalanced [--small] [--probe] [--jobs N] [--device 0]
    python benchmarks/savings.py --data FOLDER --weights RESNET18.pth [--small]

savings_protocol.md, written before the first run, says what is done and what counts. Results go to benchmarks/results:
savings_<data>.csv (raw: a line a run and loop, added as runs end), .svg and .md. A study that was stopped goes on with
the same command. With --probe it trains on random images only, to find how long a training must be, and how large its
images (savings_probe_<data>.csv).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from active_learning.dataset.image_folder import find_images  # noqa: E402
from active_learning.errors import MaskALError  # noqa: E402
from active_learning.system.files import copy_atomically  # noqa: E402
from benchmarks.gains import RANDOM, RANDOM_SAMPLES  # noqa: E402
from benchmarks.photographs import photographs  # noqa: E402
from benchmarks.savings_data import (  # noqa: E402
    IMAGES,
    SHARES_OF,
    START_IMAGES,
    Data,
    complete_weights,
    drawn,
    start_images,
)
from benchmarks.savings_probe import probe  # noqa: E402
from benchmarks.savings_report import write_report  # noqa: E402
from benchmarks.savings_runs import (  # noqa: E402
    FEWER_SEEDS,
    OTHERS,
    PRIMARY,
    SCORE_COLUMNS,
    SEEDS,
    Results,
    Study,
    run_or_stop,
    study_runs,
    write_settings,
)

NETWORKS = ROOT / "benchmarks"


def _length(iterations: int) -> dict[str, int]:
    """The same for any number of images."""
    return {"train_iterations_base": iterations, "step_image_number": 1_000_000}


DRAWN: dict[str, Any] = {"image_min_size": 120, "image_max_size": 160, **_length(1250)}
DRAWN_BUDGETS = [30, 45, 70, 110, 170, 250]
BUDGETS = (0.054, 0.085, 0.116, 0.155, 0.2, 0.25)  # of the pool of photographs; 7 to 32 of tofu_tempe's 129
PHOTOGRAPHS: dict[str, Any] = {"image_min_size": 256, "image_max_size": 256, "train_batch_size": 2, **_length(2400)}
SMALL_BUDGETS = (0, 3, 5)  # those of --small: 30, 110 and 250 drawn images, 7, 20 and 32 photographs
SMALL_SEEDS, SMALL_SAMPLES = 12, 1  # samples of random: more seeds say more than more samples of each
SMALL: dict[str, Any] = {**PHOTOGRAPHS, "image_min_size": 160, "image_max_size": 160}
START: dict[str, Any] = {
    "warmup_iterations": 100,
    "train_iterations_base": 2400,
    "step_image_number": 600,
    "eval_period": 500,
}


def prepare(data: str, out: Path, weights: Path | None, device: str, *, small: bool = False) -> Study:
    """Images, and the weights that trainings start from."""
    if is_drawn := data in SHARES_OF:
        found, budgets, usual = drawn(data, out, IMAGES), DRAWN_BUDGETS, DRAWN
    else:
        found, usual = photographs(Path(data), out), SMALL if small else PHOTOGRAPHS
        budgets = photograph_budgets(found)
    if small:
        budgets = [budgets[number] for number in SMALL_BUDGETS]
    pool_sizes = tuple(after - before for before, after in itertools.pairwise(budgets))
    network = "savings_network_resnet18.yaml" if weights else "savings_network.yaml"
    settings = {
        **usual,
        "network_config": str(NETWORKS / network),
        "cuda_visible_devices": device,
        "pretrained_weights": "",
    }
    samples = SMALL_SAMPLES if small else RANDOM_SAMPLES
    study = Study(found, out, budgets[0], pool_sizes, settings, samples)
    if weights or is_drawn:
        start = (out if weights else out.parent / "start") / "start.pth"  # all drawn images share theirs
        if not start.exists():
            _write_start(study, weights, start)
        study = replace(study, settings={**settings, "pretrained_weights": str(start)})
    return study


def photograph_budgets(data: Data) -> list[int]:
    """The images of each loop: BUDGETS, at least one more a loop.

    Raises:
        MaskALError: the pool is too small for that.
    """
    pool = len(find_images(data.folder / "train"))
    budgets = [0]
    for share in BUDGETS:
        budgets.append(max(round(share * pool), budgets[-1] + 1))
    if budgets[-1] > pool:
        raise MaskALError(
            f"{data.folder / 'train'}: {pool} images; the study needs {budgets[-1]} or more to choose from"
        )
    return budgets[1:]


def _write_start(study: Study, weights: Path | None, target: Path) -> None:
    """Completes the file; without one, trains a network that knows heads, but not their classes.

    Raises:
        SystemExit: the training failed.
    """
    if weights:
        complete_weights(weights, write_settings(study, "start", strategy=RANDOM), target)
        return
    out = target.parent
    heads = replace(study, data=start_images(out, START_IMAGES), out=out, initial=START_IMAGES["train"])
    network = str(NETWORKS / "savings_start_network.yaml")
    once = {**START, "network_config": network, "strategy": RANDOM, "pool_size": [1], "loops": [0]}
    config = write_settings(heads, "start", **once)
    if run_or_stop(config):
        raise SystemExit(f"The network to start from could not be trained; see {config.with_suffix('.log')}")
    copy_atomically(out / "weights" / "start" / RANDOM / "best_model_000.pth", target)


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    name = (given.data if given.data in SHARES_OF else Path(given.data).name) + ("_small" if given.small else "")
    out = (given.out or ROOT / "demo" / "run" / "savings" / name).resolve()
    study = prepare(given.data, out, given.weights, given.device, small=given.small)
    if given.probe:
        if size := given.image_size:
            study = replace(study, settings={**study.settings, "image_min_size": size, "image_max_size": size})
        images = given.images or (study.budgets[0], study.budgets[-1])
        probe(
            study,
            given.results / f"savings_probe_{name}.csv",
            images,
            given.iterations,
            range(given.seeds),
            dict(given.set),
        )
        return
    columns = ["strategy", "seed", "sample", "loop", "images", *SCORE_COLUMNS, *study.data.classes, "seconds", "status"]
    results = Results(given.results / f"savings_{name}.csv", columns)
    study_runs(study, (RANDOM, *given.strategies), given.seeds, results, given.jobs)
    print(write_report(study, results.path))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add, strategies = parser.add_argument, (*PRIMARY, *OTHERS)
    add("--data", default="demo_imbalanced", help="demo_imbalanced, demo_mild, or a folder of annotated photographs")
    add("--weights", type=Path, help="of ResNet-18 to res4 (backbone.bottom_up.*), to start from")
    small = f"what a processor can do: three budgets, {SMALL_SEEDS} seeds, one strategy, photographs of 160 pixels"
    add("--small", action="store_true", help=small)
    add("--strategies", nargs="+", choices=strategies, metavar="NAME", help="beside random")
    add("--seeds", type=int, help=f"of random and {' and '.join(PRIMARY)}; others: {FEWER_SEEDS}")
    add("--jobs", type=int, default=1, help="runs at a time, each on one core")
    add("--device", default="cpu", help="cpu, or the number of a GPU")
    add("--out", type=Path, help="images, weights, results of the runs (default demo/run/savings/<data>)")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results", help="for csv, table and figure")
    add("--probe", action="store_true", help="only find how long trainings must be, on random images")
    add("--images", type=int, nargs="+", help="of the trainings of --probe; else the smallest and the largest budget")
    add("--iterations", type=int, nargs="+", default=[600, 1200], help="of the trainings of --probe")
    add("--image-size", type=int, help="pixels of the longer side in --probe; else as in the study")
    add("--set", nargs="+", type=_setting, default=[], metavar="NAME=VALUE", help="settings of --probe that differ")
    given = parser.parse_args(arguments)
    given.seeds = given.seeds or (SMALL_SEEDS if given.small else SEEDS)
    given.strategies = given.strategies or (PRIMARY[-1:] if given.small else strategies)
    return given


def _setting(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    main()
