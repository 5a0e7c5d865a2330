"""Which images of the pool to choose. A new strategy is one function and one line in STRATEGIES.

A strategy puts the pool in an order, first choice first. All values have one direction: the lowest is chosen first.
`mode` makes an image's value of its objects'.

K: classes. C: features of an image. M: images of the training set.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from active_learning.sampling.certainty import MODES
from active_learning.sampling.diversity import Coverage, k_centre_greedy, k_means_plus_plus, typical_distance
from active_learning.sampling.pool_record import ObjectRecord, PoolRecord

SHORTLIST = 4  # hybrid picks among so many times the images that are wanted
STRATIFIED_SHARE = 0.66  # of the images that class_stratified and random_stratified split equally over the classes
LARGEST_POWER = 100.0  # of class_stratified, in its last loop
WEAK_DETECTIONS = 0.05  # of strategies for which detections below the confidence threshold count, too


@dataclass(frozen=True, eq=False)
class Pool:
    """What there is to choose from, and what is known of it.

    Attributes:
        names: of the images, sorted.
        records: of each of them; empty for a strategy that needs no forward passes.
        mode: mean, min or max of an image's objects.
        count: how many are wanted.
        rng: the source of random choices.
        training_features: (M, C), for strategies that need them.
        class_counts: (K,) objects of each class in the training set, for strategies that need them.
        loop, loops: the images are chosen after this loop, counted from 0, of so many that choose.
    """

    names: Sequence[str]
    records: Mapping[str, PoolRecord]
    mode: str
    count: int
    rng: random.Random
    training_features: npt.NDArray[np.float32] | None = None
    class_counts: Sequence[int] = ()
    loop: int = 0
    loops: int = 1

    @property
    def features(self) -> npt.NDArray[np.float64]:
        """(N, C)"""
        return np.stack([self.records[name].features for name in self.names]).astype(np.float64)

    @property
    def features_taken(self) -> npt.NDArray[np.float64]:
        """(M, C); M is 0 where there is no training set to compare with."""
        if self.training_features is None:
            return self.features[:0]
        return self.training_features.astype(np.float64)

    def by_value(self, value: Callable[[PoolRecord], float]) -> list[str]:
        """The lowest first, equal ones in order of name."""
        return sorted(self.names, key=lambda name: (value(self.records[name]), name))

    def by_objects(self, value: Callable[[ObjectRecord], float]) -> list[str]:
        """As by_value, an image's value being the mode of its objects'; 0 where nothing was detected."""
        mode = MODES[self.mode]
        return self.by_value(lambda record: mode([value(one) for one in record.objects]) if record.objects else 0.0)


Array = npt.NDArray[np.float64]
Order = Callable[[Pool], Iterator[str]]


def least_certain(pool: Pool) -> Iterator[str]:
    """The images on which the network disagrees most with itself (Blok et al. 2022, section 2.3)."""
    return iter(pool.by_value(_certainty))


def most_certain(pool: Pool) -> Iterator[str]:
    """The opposite, to compare with (Blok et al. 2022)."""
    return iter(pool.by_value(lambda record: -_certainty(record)))


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
    return (pool.names[index] for index in k_centre_greedy(pool.features, pool.features_taken))


def uncertain_and_diverse(pool: Pool) -> Iterator[str]:
    """Of the least certain images those that differ: a shortlist (Zhdanov 2019), sampled by k-means++ (Arthur &
    Vassilvitskii 2007) as in BADGE (Ash et al. 2020). What is not on it follows, least certain first."""
    order = pool.by_value(_certainty)
    shortlist, rest = order[: SHORTLIST * pool.count], order[SHORTLIST * pool.count :]
    features = np.stack([pool.records[name].features for name in shortlist]).astype(np.float64)
    picked = (shortlist[index] for index in k_means_plus_plus(features, 0, pool.rng))
    return itertools.chain(picked, rest)


def uncertain_and_rare(pool: Pool) -> Iterator[str]:
    """Images with objects of unclear class that may be of a rare one: class uncertainty times class rarity.

    An object's value is H r sum_c p(c) / (n(c) + 1): entropy H of its mean probabilities with "no object" as a class,
    share r of the passes that detected it, mean probability p(c) of class c, and n(c) objects of that class in the
    training set. Each chosen image counts with the objects expected in it, so that the next one favours what is still
    rare. With one class, which cannot be rare, it is H r. Images without objects come last; of equal ones the less
    certain comes first.

    Ours; the rarity is after Bengar et al. 2022, section 3, the entropy Shannon's (1948).
    """
    return _by_class_counts(pool, _rarity_weighted_entropy)


def _rarity_weighted_entropy(record: PoolRecord, counts: Array) -> Array:
    """(objects,), the lowest is chosen; counts (K,)."""
    unclear = np.array([one.entropy * one.occurrence for one in record.objects])
    if len(counts) == 1:
        return -unclear
    return -unclear * (_probabilities(record) @ (1 / (counts + 1)))


def rare_classes(pool: Pool) -> Iterator[str]:
    """Images whose predicted classes are rare in the training set (after Bengar et al. 2022, section 3).

    An object's value is how frequent its class is, expected over its probabilities; each chosen image counts with the
    objects expected in it, so that the next one favours what is still rare. Images without objects come last; of equal
    ones the less certain comes first.
    """
    return _by_class_counts(pool, _expected_frequency)


def _expected_frequency(record: PoolRecord, counts: Array) -> Array:
    """(objects,)"""
    frequency: Array = _expected_classes(record) @ (counts / max(counts.max(), 1.0))
    return frequency


def _by_class_counts(pool: Pool, values: Callable[[PoolRecord, Array], Array]) -> Iterator[str]:
    """Again and again the image whose objects have the lowest values, given the counts (K,) of objects of each class;
    the objects expected in it are then counted, too. Images without objects come last."""
    order = pool.by_value(_certainty)
    left = {name: pool.records[name] for name in order if pool.records[name].objects}
    without_objects = [name for name in order if not pool.records[name].objects]
    counts, mode = np.array(pool.class_counts, dtype=np.float64), MODES[pool.mode]
    while left:
        name = min(left, key=lambda name: mode(values(left[name], counts).tolist()))  # the first of equal ones
        record = left.pop(name)
        counts += np.array([one.occurrence for one in record.objects]) @ _expected_classes(record)
        yield name
    yield from without_objects


def _probabilities(record: PoolRecord) -> Array:
    """(objects, K)"""
    return np.array([one.probabilities for one in record.objects], dtype=np.float64)


def _expected_classes(record: PoolRecord) -> Array:
    """(objects, K) class probabilities of sum 1."""
    rows = _probabilities(record)
    total = rows.sum(axis=1, keepdims=True)
    classes: Array = np.divide(rows, total, out=np.full_like(rows, 1 / rows.shape[1]), where=total > 0)
    return classes


def entropy_by_class(pool: Pool) -> Iterator[str]:
    """Images of unclear objects, as many for each class (ClaSP PE; Lueth et al. 2026, nnActive).

    S_c is the mean over an image's objects of p(c) H, S that of H: entropy H with "no object" as a class, mean
    probability p(c) of class c. Images are taken by log S_c + Gumbel(0, 1/b), STRATIFIED_SHARE of them in equal parts
    over the classes, the others by S. The power b rises from 1 to LARGEST_POWER over the loops, geometrically: chance
    first, uncertainty later (Kirsch et al. 2023, stochastic batch acquisition).
    """
    power = LARGEST_POWER ** (pool.loop / max(pool.loops - 1, 1))
    scores = {name: _log_entropies(pool.records[name], len(pool.class_counts)) for name in pool.names}
    noisy = {name: values + _gumbel(pool.rng, len(values)) / power for name, values in scores.items()}
    return _stratified(pool, lambda name, column: float(noisy[name][column]))


def _log_entropies(record: PoolRecord, classes: int) -> Array:
    """(K + 1,): log S_c of each class, and log S; minus infinity without objects."""
    if not record.objects:
        return np.full(classes + 1, -np.inf)
    entropies = np.array([one.entropy for one in record.objects])
    by_class = np.concatenate([_probabilities(record) * entropies[:, None], entropies[:, None]], axis=1).mean(axis=0)
    with np.errstate(divide="ignore"):
        logs: Array = np.log(by_class)
    return logs


def _gumbel(rng: random.Random, count: int) -> Array:
    return np.array([-math.log(rng.expovariate(1.0)) for _ in range(count)])


def random_by_class(pool: Pool) -> Iterator[str]:
    """At random, but STRATIFIED_SHARE of the images in equal parts over the classes predicted in them: what stratifying
    alone achieves, to compare with."""
    chance = {name: pool.rng.random() for name in pool.names}
    predicted = {name: _predicted(pool.records[name]) for name in pool.names}
    return _stratified(pool, lambda name, column: chance[name] + (column in predicted[name]))


def _predicted(record: PoolRecord) -> set[int]:
    return {max(range(len(one.probabilities)), key=one.probabilities.__getitem__) for one in record.objects}


def _stratified(pool: Pool, score: Callable[[str, int], float]) -> Iterator[str]:
    """The highest score of (name, class) for each class in turn, from a random class on, until STRATIFIED_SHARE of the
    wanted images is taken; then the highest scores of (name, K), which is of no class."""
    classes = len(pool.class_counts)
    left = dict.fromkeys(pool.names)
    first = pool.rng.randrange(classes)
    turns = [(first + turn) % classes for turn in range(int(STRATIFIED_SHARE * pool.count))]
    for column in itertools.chain(turns, itertools.repeat(classes)):
        if not left:
            return
        name = max(left, key=lambda name: score(name, column))  # the first of equal ones  # noqa: B023
        del left[name]
        yield name


def _certainty(record: PoolRecord) -> float:
    """0 where nothing was detected; those images are only here with images_without_detections: choose."""
    return 0.0 if math.isnan(record.value) else record.value


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
        rare_classes,
        "images whose predicted classes are rare in the training set",
        "after Bengar et al. 2022",
        needs_class_counts=True,
    ),
    "balanced_uncertainty": Strategy(
        uncertain_and_rare,
        "objects whose class is unclear and may be a rare one: class uncertainty times class rarity",
        "ours, after Bengar et al. 2022",
        needs_class_counts=True,
        sampling_threshold=WEAK_DETECTIONS,
    ),
    "class_stratified": Strategy(
        entropy_by_class,
        "objects whose class is unclear, as many images for each class; chance counts less from loop to loop",
        "Lüth et al. 2026 (ClaSP PE)",
        needs_class_counts=True,
        sampling_threshold=WEAK_DETECTIONS,
    ),
    "random_stratified": Strategy(
        random_by_class,
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
    """At most `pool.count` images.

    Args:
        images_without_detections: `skip` leaves images in which nothing was detected out, `choose` counts them as
            certainty 0; `random` heeds neither.
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
        pool = _with_objects(pool)
    if not pool.names or pool.count <= 0:
        return Chosen([], [])
    order = STRATEGIES[strategy].order(pool)
    if not min_distance:
        return Chosen(list(itertools.islice(order, pool.count)), [])
    return _apart(order, pool, min_distance)


def _with_objects(pool: Pool) -> Pool:
    return replace(pool, names=[name for name in pool.names if pool.records[name].objects])


def _apart(order: Iterator[str], pool: Pool, min_distance: float) -> Chosen:
    features = pool.features
    nearest_allowed = min_distance * typical_distance(features)
    coverage = Coverage(features, pool.features_taken)
    index = {name: number for number, name in enumerate(pool.names)}
    chosen = Chosen([], [])
    for name in order:
        if coverage.nearest[index[name]] < nearest_allowed:
            chosen.held_back.append(name)
            continue
        chosen.names.append(name)
        coverage.take(index[name])
        if len(chosen.names) == pool.count:
            break
    return chosen
