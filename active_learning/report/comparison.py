"""How many annotations a strategy saves against sampling images at random."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from active_learning.report.curves import (
    Curve,
    Interval,
    Values,
    class_curve,
    images_needed,
    interval,
    map_curve,
    object_curve,
)
from active_learning.report.runs import RunResult, by_label, class_names

RAREST = 2  # so many classes are looked at by themselves
Cost = Literal["images", "objects"]  # what annotations are counted in


@dataclass(frozen=True, eq=False)
class Learned:
    """What the runs of one strategy learned, over the same seeds and sizes of the training set.

    Attributes:
        rarest_ap: mean AP of the rarest classes; None where it is unknown which are.
        objects: annotated objects in the training set, mean over the seeds; NaN where they were not counted.
    """

    mean_ap: Curve
    rarest_ap: Curve | None
    objects: Values

    @property
    def is_usable(self) -> bool:
        return len(self.mean_ap.sizes) > 1 and not np.isnan(self.mean_ap.values).any()


LEAST_SAVED = 0.5  # percent; less is shown as 0
LEAST_SEEDS = 6  # random signs of five give as much in 1 of 16 cases, and the interval of so few is too narrow


@dataclass(frozen=True)
class Comparison:
    """A strategy against random.

    Attributes:
        images, objects: of the strategy's last loop.
        initial: what its first training had, in `cost`; NaN where the two share nothing.
        mask_ap: mean over the seeds there, percent.
        random_ap: of random's last loop, over the same seeds.
        gain: mask AP above random's for the same cost, averaged over the loops after the initial training.
        gains: the same with each number of images that the strategy has had, or of objects that random has had.
        rarest_gain: as `gain`, for the rarest classes.
        random_needs, random_needs_objects: images and objects that random needs to reach mask_ap; infinity where it
            never does.
        needs, needs_objects: images and objects that the strategy needs to reach what random has in the end; infinity
            where it never does.
        random_images, random_objects: of random's last loop.
        random_own, random_own_objects: those at which random first had what it has in the end.
        saved, saved_objects: percent of these that the strategy does not need; minus infinity where it never has that.
        cost: in which the runs' budgets are, so that gains are at equal numbers of it.
    """

    label: str
    seeds: int
    initial: float
    images: int
    objects: float
    mask_ap: Interval
    random_ap: float
    gain: Interval
    gains: dict[int, Interval]
    rarest_gain: Interval
    random_needs: Interval
    random_needs_objects: Interval
    needs: Interval
    random_images: int
    random_objects: float
    needs_objects: Interval
    random_own: float
    random_own_objects: float
    saved: Interval
    saved_objects: Interval
    cost: Cost = "images"

    @property
    def needed(self) -> dict[Cost, tuple[Interval, float, Interval]]:
        """The strategy's need for random's last value, random's own, percent saved; that of `cost` first."""
        images = (self.needs, self.random_own, self.saved)
        objects = (self.needs_objects, self.random_own_objects, self.saved_objects)
        return (
            {"objects": objects, "images": images} if self.cost == "objects" else {"images": images, "objects": objects}
        )

    @property
    def sentence(self) -> str:
        """What the strategy saves, for readers who know no statistics; empty where it saves nothing."""
        needs, of, saved = self.needed[self.cost]
        if not saved.value >= LEAST_SAVED or self.begins_at_the_end:
            return ""
        least = f"{saved.low:.0f}" if math.isfinite(saved.low) else "none"
        bounds = f" (95 % interval {least} to {saved.high:.0f} %)" if saved.known else ""
        what = "objects in images" if self.cost == "objects" else "images"
        found = (
            f"{needs.value:.0f} {what} chosen by {self.label} were as good as {of:.0f} by chance: "
            f"{saved.value:.0f} % fewer annotations{bounds}.{self._in_the_other_cost}{self._lost_again}"
        )
        if not self.may_be_luck:
            return found
        return f"{found} With {'one seed' if self.seeds == 1 else f'these {self.seeds} seeds'} this may be luck."

    @property
    def begins_at_the_end(self) -> bool:
        """Whether the initial images, which nobody chose, gave what random has in the end."""
        return self.needed[self.cost][0].value <= self.initial

    @property
    def may_be_luck(self) -> bool:
        saved = self.needed[self.cost][2]
        return self.seeds < LEAST_SEEDS or not (self.gain.low > 0 and saved.low > 0)

    @property
    def _lost_again(self) -> str:
        """Of a strategy that is below random where both have most; else empty."""
        last = self.gains[max(self.gains)].value if self.gains else 0.0
        return f" But in the end it had {last:+.1f} mAP against chance." if last < -0.05 else ""

    @property
    def _in_the_other_cost(self) -> str:
        """Empty where objects were not counted in both."""
        other, (needs, of, saved) = list(self.needed.items())[1]
        if math.isnan(needs.value) or math.isnan(of):
            return ""
        change = f"{abs(saved.value):.0f} % {'fewer' if saved.value > 0 else 'more'}"
        change = change if abs(saved.value) >= LEAST_SAVED else "about as many"
        return f" Counted in {other}: {needs.value:.0f} instead of {of:.0f}, {change}."


def in_a_sentence(rows: Sequence[Comparison]) -> str:
    """What choosing saves, of rows as `compare` gives them; "" for none."""
    if not rows:
        return ""
    if found := next(filter(None, (row.sentence for row in rows)), ""):
        return found
    first, best = rows[0], max(rows, key=lambda row: row.gain.value)
    if first.needed[first.cost][1] <= first.initial:
        nothing = "Random images taught nothing beyond the initial ones, so there is nothing to save against"
        return f"{nothing}; {best.label} had {best.gain.value:+.1f} mAP against them, mean of the loops."
    if ahead := next((row for row in rows if row.begins_at_the_end), None):
        reached = "had with its initial images what random images reached in the end"
        return f"{ahead.label} {reached}, so what choosing saved cannot be told."
    return f"No strategy reached with fewer {first.cost} what random images reached in the end."


def compare(runs: Sequence[RunResult]) -> list[Comparison]:
    """Each strategy against random, those that save most first; empty without random or anything to compare."""
    rarest = rarest_classes(runs)
    runs_of = by_label(runs)
    random_labels = {run.label for run in runs if run.is_random}
    usable = [one for same in runs_of.values() if (one := _learned(same, rarest)).is_usable]
    baseline = next((one for one in usable if one.mean_ap.label in random_labels), None)
    if baseline is None:
        return []
    ours = [one for one in usable if one.mean_ap.label not in random_labels]
    pairs = [_of_shared_seeds(runs_of, baseline, one, rarest) for one in ours]
    end = _shared_objects(pairs) if any(run.budget == "objects" for run in runs) else math.nan
    return most_saving_first(compare_with(*pair, end) for pair in pairs)


def most_saving_first(rows: Iterable[Comparison]) -> list[Comparison]:
    return sorted(rows, key=lambda row: (-row.needed[row.cost][2].value, -row.gain.value))


def _of_shared_seeds(
    runs_of: Mapping[str, Sequence[RunResult]], baseline: Learned, strategy: Learned, rarest: Sequence[str]
) -> tuple[Learned, Learned]:
    """Both over the seeds that both have, so that a seed's luck is no gain; over all where they share none."""
    shared = set(baseline.mean_ap.seeds) & set(strategy.mean_ap.seeds)

    def of_shared(one: Learned) -> Learned:
        if not shared or shared.issuperset(one.mean_ap.seeds):
            return one
        return _learned([run for run in runs_of[one.mean_ap.label] if run.seed in shared], rarest)

    return of_shared(baseline), of_shared(strategy)


def _shared_objects(pairs: Sequence[tuple[Learned, Learned]]) -> float:
    """As far as all go that have as many loops as random; NaN where objects were not counted, or there is no pair."""
    learned = [one for pair in pairs for one in pair]
    if any(np.isnan(one.objects).any() or len(one.objects) != len(one.mean_ap.sizes) for one in learned):
        return math.nan
    loops = max((len(one.objects) for one, _ in pairs), default=0)
    return float(min((one.objects[-1] for one in learned if len(one.objects) >= loops), default=math.nan))


def rarest_classes(runs: Sequence[RunResult]) -> list[str]:
    """The RAREST classes of which random's last training sets held fewest objects, as such a sample is fair.

    Never all classes, and none without an AP, as of a class that the test images do not hold; none where the runs did
    not count objects.
    """
    found: Counter[str] = Counter()
    scored: set[str] = set()
    for run in runs:
        if run.is_random and run.scores:
            found.update(run.scores[-1].objects)
            scored.update(name for name, ap in run.scores[-1].per_class.items() if not math.isnan(ap))
    names = [name for name in class_names(runs) if name in scored]
    return sorted(names, key=lambda name: found[name])[: max(min(RAREST, len(names) - 1), 0)] if found.total() else []


def _learned(runs: Sequence[RunResult], rarest: Sequence[str]) -> Learned:
    curves = [class_curve(runs, name) for name in rarest]
    mean = replace(curves[0], values=np.mean([curve.values for curve in curves], axis=0)) if curves else None
    return Learned(map_curve(runs), mean, object_curve(runs).mean)


def compare_with(baseline: Learned, strategy: Learned, most_objects: float = math.nan) -> Comparison:
    """Differences are paired by seed where both have the same seeds.

    Args:
        most_objects: mask AP is compared at random's numbers of objects up to this; NaN: at the strategy's numbers of
            images, as far as random goes.
    """
    ours, others = strategy.mean_ap, baseline.mean_ap
    in_objects = not math.isnan(most_objects)
    end = min(most_objects, strategy.objects[-1], baseline.objects[-1])
    at = np.unique(np.minimum(baseline.objects, end)) if in_objects else _shared_images(ours, others)
    gain = functools.partial(_gain, baseline, strategy, in_objects=in_objects)
    return Comparison(
        label=ours.label,
        seeds=len(ours.seeds),
        initial=float(at[0]) if len(at) else math.nan,
        images=round(ours.sizes[-1]),
        objects=float(strategy.objects[-1]),
        mask_ap=interval(lambda mine: float(mine[-1]), ours),
        random_ap=float(others.mean[-1]),
        gain=gain(at[1:]),
        gains={round(one): gain(at[[index]]) for index, one in enumerate(at.tolist())},
        rarest_gain=gain(at[1:], rarest=True),
        random_needs=_random_needs(others.sizes, ours, others),
        random_needs_objects=_random_needs(baseline.objects, ours, others),
        needs_objects=_needs(strategy.objects, ours, others),
        needs=_needs(ours.sizes, ours, others),
        random_images=round(others.sizes[-1]),
        random_objects=float(baseline.objects[-1]),
        random_own=_own_need(others.sizes, others),
        random_own_objects=_own_need(baseline.objects, others),
        saved=_saved(ours.sizes, others.sizes, ours, others),
        saved_objects=_saved(strategy.objects, baseline.objects, ours, others),
        cost="objects" if in_objects else "images",
    )


def _shared_images(ours: Curve, others: Curve) -> Values:
    """The strategy's sizes as far as random goes; part of an image, as means over seeds have, is no difference."""
    end = others.sizes[-1]
    return np.asarray(np.minimum(ours.sizes[ours.sizes < end + 1], end))


def _gain(baseline: Learned, strategy: Learned, at: Values, *, in_objects: bool, rarest: bool = False) -> Interval:
    """Mean difference at some costs (n,), between the points of a curve by a straight line; NaN for none."""
    ours, others = ((one.rarest_ap if rarest else one.mean_ap) for one in (strategy, baseline))
    if ours is None or others is None or not len(at):
        return Interval(math.nan)
    costs = [(one.objects if in_objects else one.mean_ap.sizes) for one in (strategy, baseline)]
    mine, randoms = costs

    def gain(values: Values, random: Values) -> float:
        return float(np.mean(_interpolated(at, mine, values) - _interpolated(at, randoms, random)))

    return interval(gain, ours, others)


def _interpolated(at: Values, costs: Values, values: Values) -> Values:
    """(n,) of a curve (N,), whose costs may fall, as where images were taken away."""
    order = np.argsort(costs, kind="stable")
    return np.asarray(np.interp(at, costs[order], values[order]))


def _random_needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """`costs` (N,): images or objects that random has at its sizes; how many it needs for the strategy's last value."""
    return interval(lambda mine, random: images_needed(costs, random, mine[-1]), ours, others)


def _needs(costs: Values, ours: Curve, others: Curve) -> Interval:
    """The same of the strategy, for random's last value."""
    return interval(lambda mine, random: images_needed(costs, mine, random[-1]), ours, others)


def _own_need(costs: Values, others: Curve) -> float:
    """What random needs for its own last value, which it may have had before."""
    return images_needed(costs, others.mean, others.mean[-1])


def _saved(costs: Values, random_costs: Values, ours: Curve, others: Curve) -> Interval:
    """Percent of `_own_need` that the strategy does not need for the same."""

    def saved(mine: Values, random: Values) -> float:
        own = images_needed(random_costs, random, random[-1])
        return 100 * (1 - images_needed(costs, mine, random[-1]) / own) if own else 0.0

    return interval(saved, ours, others)
