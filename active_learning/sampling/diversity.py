"""How far images lie apart, by their features; and choosing so that they do.

N images of the pool, M that are taken already, C numbers that describe an image.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
AT_ONCE = 1024  # rows of a matrix of distances held in memory


class Coverage:
    """How far each image of the pool is from the nearest one that is taken.

    Attributes:
        nearest: (N,) Euclidean distances of features, infinite where none is taken yet.
    """

    def __init__(self, features: Array, taken: Array) -> None:
        """features (N, C), taken (M, C)"""
        self._features = features
        self.nearest = np.full(len(features), np.inf)
        for start in range(0, len(taken), AT_ONCE):
            rows = np.sqrt(squared_distances(features, taken[start : start + AT_ONCE]))
            np.minimum(self.nearest, rows.min(axis=1), out=self.nearest)

    def take(self, index: int) -> None:
        """Counts an image of the pool as taken from now on."""
        away = np.linalg.norm(self._features - self._features[index], axis=1)
        np.minimum(self.nearest, away, out=self.nearest)


def squared_distances(a: Array, b: Array) -> Array:
    """(N, C) and (M, C) -> (N, M)"""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.clip(squares, 0, None))


def typical_distance(features: Array) -> float:
    """Root of the mean square distance of two of the (N, C) images; 1 where all are equal."""
    if len(features) < 2:
        return 1.0
    return float(np.sqrt(2 * features.var(axis=0).sum())) or 1.0


def k_centre_greedy(features: Array, taken: Array) -> Iterator[int]:
    """Indices of the (N, C) images: again and again the one that is farthest from all that are taken, at first those of
    `taken` (M, C); equal ones in their order (k-centre greedy; Sener & Savarese 2018, algorithm 1)."""
    coverage = Coverage(features, taken)
    left = np.ones(len(features), dtype=bool)
    while left.any():
        index = int(np.argmax(np.where(left, coverage.nearest, -1)))
        left[index] = False
        coverage.take(index)
        yield index


def k_means_plus_plus(features: Array, first: int, rng: random.Random) -> Iterator[int]:
    """Indices of the (N, C) images: `first`, then again and again one at random, in proportion to its squared distance
    from those before it (k-means++; Arthur & Vassilvitskii 2007, section 2.2). What has no distance to them comes last,
    in order.
    """
    coverage = Coverage(features, np.empty((0, features.shape[1])))
    left = np.ones(len(features), dtype=bool)
    index = first
    while True:
        left[index] = False
        coverage.take(index)
        yield index
        if not left.any():
            return
        index = _at_random(np.where(left, coverage.nearest, 0) ** 2, left, rng)


def _at_random(weights: Array, left: npt.NDArray[np.bool_], rng: random.Random) -> int:
    ends = np.cumsum(weights)
    if ends[-1] == 0:
        return int(np.argmax(left))
    # Rounding may lead to the very end; the last that has weight is meant then.
    index = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
    return min(index, int(np.flatnonzero(weights)[-1]))
