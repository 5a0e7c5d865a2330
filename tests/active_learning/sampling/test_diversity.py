from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from active_learning.sampling.diversity import Coverage, k_centre_greedy, k_means_plus_plus, typical_distance

POINTS = arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(-5, 5))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum()))


@given(features=POINTS, taken=POINTS)
def test_k_centre_takes_the_farthest_each_time(features, taken):
    order = list(k_centre_greedy(features, taken))
    assert sorted(order) == list(range(len(features)))
    centres = list(taken)
    for step, index in enumerate(order):
        left = order[step:]
        away = {other: min(distance(features[other], centre) for centre in centres) for other in left}
        assert away[index] == pytest.approx(max(away.values()), abs=1e-6)
        centres.append(features[index])


def test_k_centre_covers_clusters_and_then_ties_in_order():
    features = np.array([[0.0], [0.1], [10.0], [10.1], [20.0], [0.0]])
    assert list(k_centre_greedy(features, np.array([[0.0]])))[:2] == [4, 2]
    assert next(k_centre_greedy(features, features[:0])) == 0


@given(features=POINTS, seed=st.integers(0, 99))
def test_k_means_plus_plus_gives_each_once(features, seed):
    order = list(k_means_plus_plus(features, 0, random.Random(seed)))
    assert order[0] == 0
    assert sorted(order) == list(range(len(features)))


def test_k_means_plus_plus_samples_by_squared_distance():
    features = np.array([[0.0], [1.0], [3.0], [0.0]])
    rng = random.Random(0)
    seconds = Counter(list(itertools.islice(k_means_plus_plus(features, 0, rng), 2))[1] for _ in range(3000))
    assert set(seconds) == {1, 2}
    assert seconds[2] / 3000 == pytest.approx(0.9, abs=0.02)


def test_coverage_of_many_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    features, taken = rng.normal(size=(20, 4)), rng.normal(size=(2500, 4))
    coverage = Coverage(features, taken)
    expected = [min(distance(one, other) for other in taken) for one in features]
    assert coverage.nearest == pytest.approx(np.array(expected))


def test_typical_distance_is_the_root_mean_square():
    features = np.random.default_rng(1).normal(size=(30, 5))
    squares = [distance(a, b) ** 2 for a in features for b in features]
    assert typical_distance(features) == pytest.approx(np.sqrt(np.mean(squares)))
    assert typical_distance(features[:1]) == typical_distance(np.ones((3, 2))) == 1.0
