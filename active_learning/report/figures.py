"""The figures of the report, as SVG elements. Sizes are in inches of 72 units; the page scales them to its columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from active_learning.report.comparison import Comparison, Cost
from active_learning.report.curves import Curve, band
from active_learning.report.svg import GRID, INK, MUTED, SERIES, new_figure, to_svg

MARKERS = "osD^vP*XhH"
BINS = np.linspace(0, 1, 21)
SEEDS_SHOWN = 2  # with more strategies than this, the lines of single seeds would hide the means
MOST_LOOPS = 8  # of a histogram figure


@dataclass(frozen=True)
class StrategyStyle:
    """How a strategy is plotted: `index` gives its colour and its marker."""

    index: int
    is_random: bool

    @property
    def colour(self) -> str:
        return SERIES[self.index % len(SERIES)]

    @property
    def line(self) -> dict[str, Any]:
        return {
            "color": self.colour,
            "marker": MARKERS[self.index % len(MARKERS)],
            "markersize": 4.5,
            "linewidth": 2,
            "markeredgewidth": 0,
            "clip_on": False,
        }


@dataclass(frozen=True)
class Saving:
    """Of the images or objects that random needs for its last mAP, `instead_of`, a strategy needs `needed`."""

    mask_ap: float
    needed: float
    instead_of: float
    may_be_luck: bool = False


def learning_curves(
    curves: Sequence[Curve],
    styles: Mapping[str, StrategyStyle],
    *,
    name: str,
    description: str,
    legend: bool = False,
    cost: Cost = "images",
    saving: Saving | None = None,
) -> str:
    """Test mAP against annotated images: a line a strategy, its band, each seed by itself as a thin line.

    Args:
        legend: inside the figure, for one that stands alone.
        cost: what the sizes of the curves count.
        saving: is drawn with its number.
    """
    figure, axes = new_figure(5.2, 3.3)
    for curve in curves:
        _plot_curve(axes, curve, styles[curve.label], seeds=len(curves) <= SEEDS_SHOWN)
    axes.set_xlabel(f"annotated {cost}")
    axes.set_ylabel("mAP on the test images (%)")
    axes.grid(axis="x", visible=False)
    axes.margins(0.04, 0.08)
    _show_shares_of_whole_images(axes)
    if saving:
        _plot_saving(axes, saving, cost)
    if legend:
        axes.legend(frameon=False, loc="upper left", labelcolor=INK)
    return to_svg(figure, name=name, description=description)


def class_panel(
    curves: Sequence[Curve], styles: Mapping[str, StrategyStyle], top: float, *, name: str, description: str
) -> str:
    """One class's curves, small; `top` is the end of the axis, so that classes compare."""
    figure, axes = new_figure(2.6, 1.7)
    for curve in curves:
        _plot_curve(axes, curve, styles[curve.label], seeds=False)
    axes.grid(axis="x", visible=False)
    axes.margins(x=0.06)
    _show_shares_of_whole_images(axes)
    axes.set_ylim(0, top)
    return to_svg(figure, name=name, description=description)


def _show_shares_of_whole_images(axes: Any) -> None:
    """No mAP lies below 0, and no image is annotated by half."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins="auto", steps=[1, 2, 5, 10]))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), max(high, 1))


def _plot_curve(axes: Any, curve: Curve, style: StrategyStyle, *, seeds: bool) -> None:
    if not len(curve.sizes):
        return
    bounds = band(curve)
    if bounds is not None:
        axes.fill_between(curve.sizes, *bounds, color=style.colour, alpha=0.15, linewidth=0)
        for values in curve.values if seeds else ():
            axes.plot(curve.sizes, values, color=style.colour, alpha=0.35, linewidth=0.7)
    axes.plot(curve.sizes, curve.mean, label=curve.label, **style.line, zorder=2 if style.is_random else 3)


def saving_of(rows: Sequence[Comparison], cost: Cost) -> Saving | None:
    """What the headline says, in images or objects: of the strategy that saves most, over the seeds that it shares with
    random; None where none saves anything (yet)."""
    row = next((row for row in rows if row.sentence), None)
    if row is None:
        return None
    needed, instead_of, _ = row.needed[cost]
    saving = Saving(row.random_ap, needed.value, instead_of, row.may_be_luck)
    return saving if needed.value < instead_of else None


def _plot_saving(axes: Any, saving: Saving, cost: str) -> None:
    """Along random's last mAP, and down to the numbers of images or objects at both ends."""
    bottom = axes.get_ylim()[0]
    axes.set_ylim(bottom=bottom)
    left, right, height = saving.needed, saving.instead_of, saving.mask_ap
    dashes = {"color": INK, "linestyle": (0, (3, 2)), "linewidth": 1.2, "zorder": 4}
    axes.plot([left, left, right, right], [bottom, height, height, bottom], **dashes)
    start, end = axes.get_xlim()
    beside = right if right - left > 0.4 * (end - start) else left  # between the lines, where there is room
    text = f"{right - left:.0f} {cost} saved" + (", may be luck" if saving.may_be_luck else "")
    axes.annotate(text, (beside, bottom), (-5, 6), "data", "offset points", ha="right", color=INK)


@dataclass(frozen=True)
class LoopCertainties:
    """Certainty of the pool's images by the network of a loop, and of those chosen from them."""

    loop: int
    pool: Sequence[float]
    chosen: Sequence[float]


def certainty_histograms(loops: Sequence[LoopCertainties], style: StrategyStyle, *, name: str, description: str) -> str:
    """A row a loop on one axis: the whole pool in grey, what was chosen in the strategy's colour."""
    shown = spread(loops)
    figure, rows = new_figure(4.4, 0.45 + 0.8 * len(shown), nrows=len(shown), sharex=True, squeeze=False)
    for axes, one in zip(rows[:, 0], shown, strict=True):
        axes.hist(one.pool, BINS, color=GRID, edgecolor=MUTED, linewidth=0.4)
        axes.hist(one.chosen, BINS, color=style.colour, linewidth=0)
        axes.set_ylabel(f"loop {one.loop}", rotation=0, ha="right", va="center")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.set_xlim(0, 1)
        if len(one.pool):
            median = float(np.median(one.pool))
            axes.axvline(median, color=INK, linewidth=1)
            place = {"xytext": (3, -2), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            axes.annotate(f"{median:.2f}", (median, 1), **place, va="top", color=INK)
    rows[-1, 0].set_xlabel("certainty of an image (line: median)")
    return to_svg(figure, name=name, description=description)


def spread(loops: Sequence[LoopCertainties]) -> list[LoopCertainties]:
    """All, or where they are many the first, the last and some between."""
    if len(loops) <= MOST_LOOPS:
        return list(loops)
    return [loops[round(place * (len(loops) - 1) / (MOST_LOOPS - 1))] for place in range(MOST_LOOPS)]


def top_of(curves: Sequence[Curve]) -> float:
    """A common end for the axes of several panels, percent."""
    highest = max((float(np.nanmax(c.values)) for c in curves if not np.isnan(c.values).all()), default=0.0)
    return min(max(math.ceil((highest + 3) / 10) * 10, 10), 100)
