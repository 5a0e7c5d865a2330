"""How the certainty of each object settles as the number of passes T grows: is mcd_iterations large enough?

    python active_learning/utils/uncertainty_forward_passes.py --config maskAL.yaml [--passes 500] [KEY VALUE ...]

--passes forward passes over each image; the certainty for a smaller T is that of the first T passes. Writes
forward_passes.csv (a line an object and T), forward_passes_summary.csv and forward_passes.png.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder, but the one that holds the package

from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import csv_text
from active_learning.utils.study import Study, at_least, of_each_image, open_study, save_csv, save_figure, study_parser

if TYPE_CHECKING:
    from active_learning.sampling.observations import ForwardPasses

STEPS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 500)
PARTS = ("certainty", "semantic", "mask", "box", "occurrence")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Settling:
    """Of one image: what objects and image are after T of all passes.

    Attributes:
        passes: (S,) the numbers T.
        objects: (S, objects, 5) PARTS of each object; NaN before it is first detected.
        image: (S,) its certainty; NaN while nothing is detected.
    """

    name: str
    passes: tuple[int, ...]
    objects: Values
    image: Values


def steps_up_to(passes: int) -> tuple[int, ...]:
    return (*(step for step in STEPS if step < passes), passes)


def settle(name: str, forward_passes: ForwardPasses, *, iou_threshold: float, mode: str) -> Settling:
    """Objects keep their place as T grows: an observation is opened by its first member, and never again."""
    from active_learning.sampling import certainty_of

    passes = forward_passes.passes
    steps = steps_up_to(len(passes))
    certainties = [certainty_of(passes[:step], iou_threshold=iou_threshold, mode=mode) for step in steps]
    objects = np.full((len(steps), len(certainties[-1].observations), len(PARTS)), np.nan)
    for row, one in zip(objects, certainties, strict=True):
        for place, observation in enumerate(one.observations):
            row[place] = [getattr(observation, part) for part in PARTS]
    return Settling(name, steps, objects, np.array([one.value for one in certainties]))


def settle_images(study: Study, passes: int) -> list[Settling]:
    """How the certainty of each image of a study settles, by the forward passes of its network."""
    from active_learning.network.mc_dropout import MonteCarloDropout
    from active_learning.network.prediction import load_network, read_input

    experiment = study.settings.experiments()[0]
    network = load_network(study.cfg, study.weights, study.settings.classes)
    sampler = MonteCarloDropout(network, study.cfg, passes=passes, seed=experiment.seed)

    def settling(name: str) -> Settling:
        forward_passes = sampler.forward_passes(name, read_input(study.folder / name, study.cfg))
        return settle(name, forward_passes, iou_threshold=study.settings.iou_thres, mode=experiment.mode)

    return of_each_image(study.images, settling, what="forward passes")


def summary(found: Sequence[Settling]) -> list[list[float]]:
    """A row a T: objects detected by then; mean and 90th percentile of how far their certainty is from its last value;
    mean distance of the images' certainty; rank correlation of the images' with their last values."""
    objects = np.concatenate([one.objects[:, :, 0] for one in found], axis=1)
    images = np.stack([one.image for one in found], axis=1)
    rows = []
    for place, step in enumerate(found[0].passes):
        off = np.abs(objects[place] - objects[-1])
        off = off[~np.isnan(off)]
        known = ~np.isnan(images[place])
        far = np.abs(images[place] - images[-1])[known]
        rank = rank_correlation(images[place][known], images[-1][known])
        spread = [float(off.mean()), float(np.quantile(off, 0.9))] if len(off) else [math.nan, math.nan]
        rows.append([step, len(off), *spread, float(far.mean()) if len(far) else math.nan, rank])
    return rows


HEADERS = ("passes", "objects", "mean change to last", "90th percentile", "images: mean change", "rank correlation")


def rank_correlation(a: Values, b: Values) -> float:
    """Spearman's, equal values with the mean of their ranks; NaN for fewer than two or where all are equal."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Values) -> Values:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place])


def objects_csv(found: Sequence[Settling]) -> str:
    lines: list[list[object]] = [["image", "object", "passes", *PARTS]]
    for one in found:
        for number in range(one.objects.shape[1]):
            for step, values in zip(one.passes, one.objects[:, number], strict=True):
                if not math.isnan(values[0]):
                    lines.append([one.name, number, step, *(f"{value:.6f}" for value in values)])
    return csv_text(lines)


def plot(found: Sequence[Settling], rows: Sequence[Sequence[float]], used: int, path: Path) -> None:
    """Left every object's certainty, right how far it still is from its last value; `used` is the settings' T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for one in found:
        left.plot(one.passes, one.objects[:, :, 0], color="#0b6e99", alpha=0.35, linewidth=0.8)
    table = np.array(rows, dtype=np.float64)
    right.fill_between(table[:, 0], 0, table[:, 3], color="#0b6e99", alpha=0.15, linewidth=0, label="90 % of objects")
    right.plot(table[:, 0], table[:, 2], color="#0b6e99", linewidth=2, label="objects, mean")
    right.plot(table[:, 0], table[:, 4], color="#c2410c", linewidth=2, label="images, mean")
    right.legend(frameon=False)
    for axes, title in ((left, "Certainty of each object"), (right, "Distance from the value of all passes")):
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 20, 50, 100, 200, 500], [2, 5, 10, 20, 50, 100, 200, 500])
        axes.set_xticks([], minor=True)
        axes.set_xlim(2, max(table[-1, 0], 3))
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("passes T")
        if used <= axes.get_xlim()[1]:
            axes.axvline(used, color="#555555", linestyle=(0, (3, 2)), linewidth=1)
            place = {"xycoords": ("data", "axes fraction"), "va": "top", "fontsize": 9}
            axes.annotate(f" mcd_iterations {used}", (used, 0.98), **place)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylim(0, 1)
    save_figure(figure, path)


def run(arguments: Sequence[str] | None) -> None:
    parser = study_parser("How the certainty of each object settles as the number of passes grows.", images=20)
    parser.add_argument("--passes", type=partial(at_least, 2), default=500, metavar="T", help="2 or more (default 500)")
    parsed = parser.parse_intermixed_args(arguments)
    study = open_study(parsed)
    found = settle_images(study, parsed.passes)
    rows = summary(found)
    print(tabulate(rows, headers=HEADERS, floatfmt=("g", "g", ".4f", ".4f", ".4f", ".3f")))
    save_csv(objects_csv(found), study.out / "forward_passes.csv")
    lines = ([f"{value:g}" for value in row] for row in rows)
    save_csv(csv_text([HEADERS, *lines]), study.out / "forward_passes_summary.csv")
    plot(found, rows, study.settings.mcd_iterations[0], study.out / "forward_passes.png")


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_code_of(run, arguments, report_interruption=False)


if __name__ == "__main__":
    sys.exit(main())
