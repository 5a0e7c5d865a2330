"""Images that stand for kinds of images: of each k-means cluster the one nearest to its centre.

N images, C numbers that describe an image, k clusters.
"""

from __future__ import annotations

import random
from itertools import islice

import numpy as np

from active_learning.sampling.diversity import (
    AT_ONCE,
    Array,
    k_centre_greedy,
    k_means_plus_plus,
    squared_distances,
)

MOST_ROUNDS = 100  # of Lloyd's algorithm; it ends as soon as no image changes its cluster
ROUNDING = 1e-12  # of squared distances, as a share of the largest square


def central_images(features: Array, count: int, rng: random.Random) -> list[int]:
    """`count` of the (N, C) images, as their indices: k-means (Lloyd 1982) from a start by k-means++ (Arthur &
    Vassilvitskii 2007), then the image nearest to each centre. Equal images may leave clusters empty; then images
    farthest from those taken fill up. Of images that are equally near or far chance decides.

    Raises:
        ValueError: there are fewer images than that, or none is wanted.
    """
    if not 0 < count <= len(features):
        raise ValueError(f"count {count} must be from 1 to the number of images, {len(features)}")
    centres = features[list(islice(k_means_plus_plus(features, rng.randrange(len(features)), rng), count))]
    clusters = np.full(len(features), -1)
    for _ in range(MOST_ROUNDS):
        now, squares = _nearest_centres(features, centres)
        if (now == clusters).all():
            break
        clusters = now
        centres = _means(features, clusters, centres)
    rounding = ROUNDING * float((features**2).sum(axis=1).max())
    chosen = [
        int(rng.choice(members[squares[members] <= squares[members].min() + rounding]))
        for members in _members(clusters, count)
        if len(members)
    ]
    left = rng.sample(sorted(set(range(len(features))) - set(chosen)), len(features) - len(chosen))
    further = k_centre_greedy(features[left], features[chosen])
    return [*chosen, *(left[index] for index in islice(further, count - len(chosen)))]


def _nearest_centres(features: Array, centres: Array) -> tuple[np.ndarray, Array]:
    """(N,) the nearest centre of each image, and the square of its distance."""
    nearest, squares = np.empty(len(features), dtype=np.int64), np.empty(len(features))
    for start in range(0, len(features), AT_ONCE):
        block = squared_distances(features[start : start + AT_ONCE], centres)
        nearest[start : start + AT_ONCE] = block.argmin(axis=1)
        squares[start : start + AT_ONCE] = block.min(axis=1)
    return nearest, squares


def _members(clusters: np.ndarray, count: int) -> list[np.ndarray]:
    """The indices of each cluster's images."""
    order = clusters.argsort(kind="stable")
    return np.split(order, np.searchsorted(clusters[order], np.arange(1, count)))


def _means(features: Array, clusters: np.ndarray, centres: Array) -> Array:
    """(k, C); a cluster without an image keeps its centre."""
    return np.stack(
        [
            features[members].mean(axis=0) if len(members) else centre
            for members, centre in zip(_members(clusters, len(centres)), centres, strict=True)
        ]
    )
