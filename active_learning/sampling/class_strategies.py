"""Strategies that heed the classes of the objects, and how many of each the training set has.

K: classes. N: images of the pool. O: objects of all these images, one image after another.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from active_learning.sampling.pool import Array, Pool
from active_learning.sampling.pool_record import PoolRecord

STRATIFIED_SHARE = 0.66  # of the images, split equally over the classes
LARGEST_POWER = 100.0  # in the last loop


class _Objects:
    """Those of some images that have at least one each.

    Attributes:
        entropy, occurrence: (O,)
        probabilities: (O, K) of the classes, without "no object".
        classes: (O, K) the same, each row of sum 1.
    """

    def __init__(self, records: Sequence[PoolRecord], mode: str) -> None:
        objects = [one for record in records for one in record.objects]
        self.entropy = np.array([one.entropy for one in objects])
        self.occurrence = np.array([one.occurrence for one in objects])
        self.probabilities = np.array([one.probabilities for one in objects], dtype=np.float64)
        total = self.probabilities.sum(axis=1, keepdims=True)
        even = np.full_like(self.probabilities, 1 / self.probabilities.shape[1])
        self.classes: Array = np.divide(self.probabilities, total, out=even, where=total > 0)
        self._counts = np.array([len(record.objects) for record in records])
        self._starts = self._counts.cumsum() - self._counts
        self._mode = mode

    def of_images(self, values: Array) -> Array:
        """(O,) or (O, K) -> (N,) or (N, K): mean, min or max of each image's objects."""
        if self._mode == "mean":
            mean: Array = self.sums(values) / self._counts.reshape(-1, *[1] * (values.ndim - 1))
            return mean
        reduced: Array = (np.minimum if self._mode == "min" else np.maximum).reduceat(values, self._starts)
        return reduced

    def sums(self, values: Array) -> Array:
        """(O,) or (O, K) -> (N,) or (N, K): the sum of each image's objects."""
        sums: Array = np.add.reduceat(values, self._starts)
        return sums


def uncertain_and_rare(pool: Pool) -> Iterator[str]:
    """Images with objects of unclear class that may be of a rare one: class uncertainty times class rarity.

    An object's value is H r sum_c p(c) / (n(c) + 1): entropy H of its mean probabilities with "no object" as a class,
    share r of the passes that detected it, mean probability p(c) of class c, and n(c) objects of that class in the
    training set. The highest is chosen. With one class, which cannot be rare, it is H r.

    Ours; the rarity is after Bengar et al. 2022, section 3, the entropy Shannon's (1948).
    """

    def value(objects: _Objects, counts: Array) -> Array:
        unclear: Array = objects.entropy * objects.occurrence
        rarity: Array = objects.probabilities @ (1 / (counts + 1)) if len(counts) > 1 else np.ones_like(unclear)
        return -unclear * rarity

    return _counting_chosen(pool, value)


def rare_classes(pool: Pool) -> Iterator[str]:
    """Images whose predicted classes are rare in the training set (after Bengar et al. 2022, section 3).

    An object's value is how frequent its class is, expected over its probabilities. The lowest is chosen.
    """

    def value(objects: _Objects, counts: Array) -> Array:
        frequency: Array = objects.classes @ (counts / max(counts.max(), 1.0))
        return frequency

    return _counting_chosen(pool, value)


def _counting_chosen(pool: Pool, value: Callable[[_Objects, Array], Array]) -> Iterator[str]:
    """Again and again the image of the lowest value, given the counts (K,) of objects of each class in the training set
    and, expected, in the images chosen before: so the next one favours what is still rare.

    Of equal ones the less certain comes first, then chance decides; images without objects come last.
    """
    order = pool.by_certainty()
    names = [name for name in order if pool.records[name].objects]
    if names:
        objects = _Objects([pool.records[name] for name in names], pool.mode)
        expected = objects.sums(objects.classes * objects.occurrence[:, None])
        counts, taken = np.array(pool.class_counts, dtype=np.float64), np.zeros(len(names))
        for _ in names:
            index = int(np.argmin(objects.of_images(value(objects, counts)) + taken))
            taken[index] = np.inf
            yield names[index]
            if names[index] not in pool.held_back:
                counts += expected[index]
    yield from (name for name in order if not pool.records[name].objects)


def entropy_by_class(pool: Pool) -> Iterator[str]:
    """Images of unclear objects, as many for each class (ClaSP PE; Lueth et al. 2026).

    S_c is the mean over an image's objects of p(c) H, S that of H: entropy H with "no object" as a class, mean
    probability p(c) of class c. Images are taken by log S_c + Gumbel(0, 1/b), STRATIFIED_SHARE of them in equal parts
    over the classes, the others by S. The power b rises from 1 to LARGEST_POWER over the loops, geometrically: chance
    first, uncertainty later (Kirsch et al. 2023, stochastic batch acquisition).
    """
    power = LARGEST_POWER ** (pool.loop / max(pool.loops - 1, 1))
    names = [name for name in pool.names if pool.records[name].objects]
    scores = np.full((len(pool.names), len(pool.class_counts) + 1), -np.inf)
    if names:
        objects = _Objects([pool.records[name] for name in names], "mean")
        by_class = objects.of_images(objects.probabilities * objects.entropy[:, None])
        found = np.column_stack([by_class, objects.of_images(objects.entropy)])
        # of a class that no object has a probability of, chance decides, and images without objects stay last
        scores[np.isin(pool.names, names)] = np.log(np.maximum(found, np.finfo(float).tiny))
    noise = [[_gumbel(pool.rng) for _ in row] for row in scores]
    return _stratified(pool, scores + np.array(noise).reshape(scores.shape) / power)


def _gumbel(rng: random.Random) -> float:
    return -math.log(rng.expovariate(1.0))


def random_by_class(pool: Pool) -> Iterator[str]:
    """At random, but STRATIFIED_SHARE of the images in equal parts over the classes predicted in them: what stratifying
    alone achieves, to compare with."""
    scores = np.array([[pool.rng.random()] * (len(pool.class_counts) + 1) for _ in pool.names])
    for row, name in zip(scores, pool.names, strict=True):
        for predicted in {int(np.argmax(one.probabilities)) for one in pool.records[name].objects}:
            row[predicted] += 1
    return _stratified(pool, scores)


def _stratified(pool: Pool, scores: Array) -> Iterator[str]:
    """scores (N, K + 1): the highest for each class in turn, from a random class on, until STRATIFIED_SHARE of the
    wanted images is taken; then the highest of the last column. Chance decides between equal ones."""
    classes = len(pool.class_counts)
    first, share = pool.rng.randrange(classes), int(STRATIFIED_SHARE * pool.count)
    turns = itertools.chain(((first + turn) % classes for turn in range(share)), itertools.repeat(classes))
    place_of = {name: place for place, name in enumerate(pool.names)}
    left, column = np.array([place_of[name] for name in pool.shuffled]), next(turns)
    while len(left):
        chosen = int(np.argmax(scores[left, column]))
        name = pool.names[left[chosen]]
        left = np.delete(left, chosen)
        yield name
        if name not in pool.held_back:
            column = next(turns)
