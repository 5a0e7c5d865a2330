"""Which images of the pool to choose. A new strategy is one function and one line in STRATEGIES.

A strategy puts the pool in an order, first choice first. All values have one direction: the lowest is chosen first.
`mode` makes an image's value of its objects'.

K: classes. C: features of an image. M: images of the training set.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from active_learning.sampling import class_strategies
from active_learning.sampling.diversity import Coverage, k_centre_greedy, k_means_plus_plus, typical_distance
from active_learning.sampling.pool import Pool, certainty

SHORTLIST = 4  # hybrid picks among so many times the images that are wanted
MOST_ROUNDS = 5  # of choosing for a budget of objects
WEAK_DETECTIONS = 0.05  # of strategies for which detections below the confidence threshold count, too


Order = Callable[[Pool], Iterator[str]]


def least_certain(pool: Pool) -> Iterator[str]:
    """The images on which the network disagrees most with itself (Blok et al. 2022, section 2.3)."""
    return iter(pool.by_certainty())


def most_certain(pool: Pool) -> Iterator[str]:
    """The opposite, to compare with (Blok et al. 2022)."""
    return iter(pool.by_value(lambda record: -certainty(record)))


def at_random(pool: Pool) -> Iterator[str]:
    """At random; the first `count` are a sample without replacement."""
    sample = pool.rng.sample(pool.names, min(pool.count, len(pool.names)))
    rest = sorted(set(pool.names) - set(sample))
    return itertools.chain(sample, pool.rng.sample(rest, len(rest)))


def highest_entropy(pool: Pool) -> Iterator[str]:
    """Objects whose class is least clear: entropy of their mean probabilities (Shannon 1948; Settles 2009, 3.1)."""
    return iter(pool.by_objects(lambda one: -one.entropy))


def smallest_margin(pool: Pool) -> Iterator[str]:
    """Objects with two classes that are nearly as likely (Scheffer et al. 2001; Settles 2009, section 3.1)."""
    return iter(pool.by_objects(lambda one: one.margin))


def most_disagreement(pool: Pool) -> Iterator[str]:
    """Objects to which the passes, each for sure, give different classes: mutual information of class and dropout mask
    (BALD; Houlsby et al. 2011, Gal et al. 2017, section 3)."""
    return iter(pool.by_objects(lambda one: -one.mutual_information))


def core_set(pool: Pool) -> Iterator[str]:
    """Images unlike those of the training set and one another: k-centre greedy (Sener & Savarese 2018, algorithm 1)."""
    pool = replace(pool, names=pool.shuffled)
    return (pool.names[index] for index in k_centre_greedy(pool.features, pool.features_taken))


def uncertain_and_diverse(pool: Pool) -> Iterator[str]:
    """Of the least certain images those that differ: a shortlist (Zhdanov 2019), sampled by k-means++ (Arthur &
    Vassilvitskii 2007) as in BADGE (Ash et al. 2020). What is not on it follows, least certain first."""
    order = pool.by_certainty()
    shortlist, rest = order[: SHORTLIST * pool.count], order[SHORTLIST * pool.count :]
    features = np.stack([pool.records[name].features for name in shortlist]).astype(np.float64)
    chosen = (shortlist[index] for index in k_means_plus_plus(features, 0, pool.rng))
    return itertools.chain(chosen, rest)


@dataclass(frozen=True)
class Strategy:
    """A line of the table.

    Attributes:
        order: puts the pool in order.
        chooses: which images, for the documentation (MISC_SETTINGS.md).
        source: of the method.
        needs_forward_passes: the pool is scored; without, there are no records.
        needs_training_features, needs_class_counts: attributes of Pool that it reads.
        sampling_threshold: how weak a detection may be to count; None: as the settings' confidence_threshold.
    """

    order: Order
    chooses: str
    source: str = ""
    needs_forward_passes: bool = True
    needs_training_features: bool = False
    needs_class_counts: bool = False
    sampling_threshold: float | None = None


STRATEGIES: dict[str, Strategy] = {
    "uncertainty": Strategy(
        least_certain,
        "images on which the network disagrees most with itself: class, mask, box, and whether there is an object",
        "Blok et al. 2022",
    ),
    "certainty": Strategy(most_certain, "the opposite, to compare with", "Blok et al. 2022"),
    "random": Strategy(at_random, "at random; the network is not asked", needs_forward_passes=False),
    "entropy": Strategy(highest_entropy, "objects whose class is least clear", "Shannon 1948, Settles 2009"),
    "margin": Strategy(smallest_margin, "objects with two classes that are nearly as likely", "Scheffer et al. 2001"),
    "bald": Strategy(
        most_disagreement,
        "objects to which the forward passes give different classes, each pass for sure",
        "Houlsby et al. 2011, Gal et al. 2017",
    ),
    "coreset": Strategy(
        core_set,
        "images unlike those of the training set and unlike one another",
        "Sener & Savarese 2018",
        needs_training_features=True,
    ),
    "hybrid": Strategy(
        uncertain_and_diverse,
        "of the least certain images (four times as many as are wanted) those that differ",
        "Zhdanov 2019, Ash et al. 2020",
    ),
    "class_balanced": Strategy(
        class_strategies.rare_classes,
        "images whose predicted classes are rare in the training set",
        "after Bengar et al. 2022",
        needs_class_counts=True,
    ),
    "balanced_uncertainty": Strategy(
        class_strategies.uncertain_and_rare,
        "objects whose class is unclear and may be a rare one: class uncertainty times class rarity",
        "ours, after Bengar et al. 2022",
        needs_class_counts=True,
        sampling_threshold=WEAK_DETECTIONS,
    ),
    "class_stratified": Strategy(
        class_strategies.entropy_by_class,
        "objects whose class is unclear, as many images for each class; chance counts less from loop to loop",
        "Lüth et al. 2026 (ClaSP PE)",
        needs_class_counts=True,
        sampling_threshold=WEAK_DETECTIONS,
    ),
    "random_stratified": Strategy(
        class_strategies.random_by_class,
        "at random, as many images for each class that the network predicts; to compare with",
        needs_class_counts=True,
        sampling_threshold=WEAK_DETECTIONS,
    ),
}


@dataclass(frozen=True)
class Chosen:
    """Names, first choice first; `held_back` lists those passed over because they are like one that is taken."""

    names: list[str]
    held_back: list[str]


def choose_images(
    strategy: str, pool: Pool, *, images_without_detections: str = "skip", min_distance: float = 0.0
) -> Chosen:
    """At most `pool.count` images, or as many as the pool's budget of objects comes to.

    Where there is such a budget, it is chosen again until the count that strategies heed (a shortlist of four times as
    many, a share for each class) is that of the images chosen.

    Args:
        images_without_detections: `skip` leaves images in which nothing was detected out; with `choose` they come first
            where an image's certainty counts, and last where classes do. `random` heeds neither.
        min_distance: an image nearer than this to one of the training set or one chosen before it is passed over; 1 is
            the typical distance of two images of the pool. Needs records and training_features; 0 passes none over.

    Raises:
        ValueError: unknown strategy or images_without_detections.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is not one of {', '.join(STRATEGIES)}")
    if images_without_detections not in ("skip", "choose"):
        raise ValueError(f"images_without_detections {images_without_detections!r} is not skip or choose")
    if STRATEGIES[strategy].needs_forward_passes and images_without_detections == "skip":
        pool = replace(pool, names=[name for name in pool.names if pool.records[name].objects])
    if not pool.names or pool.count <= 0:
        return Chosen([], [])
    chosen = _choose(strategy, pool, min_distance)
    for _ in range(MOST_ROUNDS if pool.budget is not None else 0):
        if len(chosen.names) in (0, pool.count):
            break
        pool = replace(pool, count=len(chosen.names))
        chosen = _choose(strategy, pool, min_distance)
    return chosen


def _choose(strategy: str, pool: Pool, min_distance: float) -> Chosen:
    """In the strategy's order until the count, or the budget, is reached."""
    pool = replace(pool, rng=copy.copy(pool.rng), held_back=set())  # a further round has the same chances
    order = STRATEGIES[strategy].order(pool)
    apart = _Apart(pool, min_distance) if min_distance else None
    chosen, spent = Chosen([], []), 0.0
    wanted = pool.count if pool.budget is None else pool.budget
    for name in order:
        if apart and not apart.takes(name):
            chosen.held_back.append(name)
            pool.held_back.add(name)
            continue
        chosen.names.append(name)
        spent += 1 if pool.budget is None else pool.costs[name]
        if spent >= wanted:
            break
    return chosen


class _Apart:
    """Takes images that are not too like one of the training set or one taken before."""

    def __init__(self, pool: Pool, min_distance: float) -> None:
        features = pool.features
        self._nearest_allowed = min_distance * typical_distance(features)
        self._coverage = Coverage(features, pool.features_taken)
        self._index = {name: number for number, name in enumerate(pool.names)}

    def takes(self, name: str) -> bool:
        index = self._index[name]
        if self._coverage.nearest[index] < self._nearest_allowed:
            return False
        self._coverage.take(index)
        return True
