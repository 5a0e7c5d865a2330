"""Strategies that heed classes: their formulas by hand, and what they do where little is known."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from active_learning.sampling.class_uncertainty import class_uncertainty
from active_learning.sampling.pool import Pool
from active_learning.sampling.strategies import STRATEGIES, choose_images

OF_CLASSES = [name for name, strategy in STRATEGIES.items() if strategy.needs_class_counts]


@pytest.fixture
def pool_of(make_record):
    """pool_of({name: probabilities (objects, members, K)}, count, class_counts)"""

    def make(images, count=2, class_counts=(1, 1), mode="mean", seed=0, **changes) -> Pool:
        records = {name: make_record(name, [0.5] * len(rows), rows or None) for name, rows in sorted(images.items())}
        return Pool(list(records), records, mode, count, random.Random(seed), class_counts=class_counts, **changes)

    return make


def entropy(probabilities) -> float:
    return class_uncertainty(np.array(probabilities, dtype=np.float64)).entropy


def test_balanced_uncertainty_is_its_formula(pool_of):
    """Three images, one after another, each with the counts that the ones before have left."""
    images = {
        "rare": [[[0.2, 0.5]] * 10],
        "common": [[[0.5, 0.2]] * 10],
        "both": [[[0.2, 0.5]] * 10, [[0.5, 0.2]] * 5],
    }
    pool = pool_of(images, count=3, class_counts=(8, 2))
    counts, left, order = np.array([8.0, 2.0]), dict(images), []
    while left:
        values = {}
        for name, objects in left.items():
            parts = [
                entropy(members) * len(members) / 10 * sum(p / (n + 1) for p, n in zip(members[0], counts, strict=True))
                for members in objects
            ]
            values[name] = sum(parts) / len(parts)
        best = max(values, key=values.__getitem__)
        for members in left.pop(best):
            row = np.array(members[0])
            counts += row / row.sum() * len(members) / 10
        order.append(best)
    assert choose_images("balanced_uncertainty", pool).names == order
    assert order[0] == "rare"


@pytest.mark.parametrize(("mode", "first"), [("max", "unsure"), ("min", "mixed"), ("mean", "unsure")])
def test_the_mode_counts(pool_of, mode, first):
    """Values have the direction of all strategies: min is the most uncertain object, max the least."""
    images = {"mixed": [[[0.5, 0.5]] * 10, [[0.99, 0.0]] * 10], "unsure": [[[0.8, 0.15]] * 10] * 2}
    assert choose_images("balanced_uncertainty", pool_of(images, mode=mode)).names[0] == first


def test_with_one_class_it_is_entropy_times_occurrence(pool_of):
    images = {"sure": [[[0.99]] * 10], "unsure": [[[0.5]] * 10], "seldom": [[[0.5]] * 3], "unlikely": [[[0.45]] * 10]}
    pool = pool_of(images, count=4, class_counts=(500,))
    assert choose_images("balanced_uncertainty", pool).names == ["unsure", "unlikely", "seldom", "sure"]


def test_a_class_that_nobody_has_annotated_comes_first(pool_of):
    images = {name: [[row] * 10] for name, row in {"known": [0.6, 0.0], "unknown": [0.0, 0.6]}.items()}
    for strategy in ("balanced_uncertainty", "class_balanced"):
        assert choose_images(strategy, pool_of(images, class_counts=(9, 0))).names == ["unknown", "known"]


@pytest.mark.parametrize("strategy", OF_CLASSES)
@pytest.mark.parametrize(
    ("images", "class_counts"),
    [
        pytest.param({}, (1, 1), id="empty pool"),
        pytest.param({"a": [], "b": []}, (1, 1), id="nothing predicted"),
        pytest.param({"a": [], "b": [[[0.5, 0.1]]]}, (0, 0), id="nothing annotated, one pass"),
        pytest.param({"a": [[[0.0, 0.0]] * 10], "b": [[[1.0, 0.0]] * 10]}, (3, 0), id="probabilities of 0 and 1"),
        pytest.param({"a": [[[0.3]]], "b": [[[0.9]] * 2]}, (1,), id="one class"),
    ],
)
def test_little_is_known(pool_of, strategy, images, class_counts):
    pool = pool_of(images, count=5, class_counts=class_counts)
    all_of_them = choose_images(strategy, pool, images_without_detections="choose").names
    assert sorted(all_of_them) == sorted(images)
    assert sorted(choose_images(strategy, pool).names) == sorted(name for name, rows in images.items() if rows)


def many(classes: int) -> dict:
    """90 images of the first class to 10 of each of the others."""
    rows = np.eye(classes) * 0.7 + 0.02
    shares = [90, *[10] * (classes - 1)]
    return {f"{c}_{i:02d}": [[rows[c].tolist()] * 10] for c, count in enumerate(shares) for i in range(count)}


@pytest.mark.parametrize("strategy", ["class_stratified", "random_stratified"])
def test_two_thirds_are_split_over_the_classes(pool_of, strategy):
    pool = pool_of(many(3), count=30, class_counts=(1, 1, 1), loop=4, loops=5)
    chosen = Counter(name[0] for name in choose_images(strategy, pool).names)
    assert sum(chosen.values()) == 30
    assert min(chosen["1"], chosen["2"]) >= int(0.66 * 30) // 3
    random_choice = Counter(name[0] for name in choose_images("random", pool).names)
    assert random_choice["1"] + random_choice["2"] < chosen["1"] + chosen["2"]


@pytest.fixture
def filmed(pool_of):
    """30 images of one scene of class 0, and 10 other scenes of each of two classes."""
    rows = [[0.8, 0.1], [0.1, 0.8]]
    images = {f"0_film{i:02d}": [[rows[0]] * 10] for i in range(30)}
    images |= {f"{c}_{i:02d}": [[rows[c]] * 10] for c in (0, 1) for i in range(10)}
    pool = pool_of(images, count=10, class_counts=(2, 2), loop=4, loops=5)
    places = {name: [0.0 if "film" in name else 10.0 * (index + 1), 1.0] for index, name in enumerate(pool.names)}
    records = {
        name: replace(one, features=np.array(places[name], dtype=np.float32)) for name, one in pool.records.items()
    }
    return replace(pool, records=records)


@pytest.mark.parametrize("strategy", OF_CLASSES)
def test_images_that_are_held_back_count_for_no_class(filmed, strategy):
    names = choose_images(strategy, filmed, min_distance=0.01).names
    assert sum("film" in name for name in names) <= 1
    assert Counter(name[0] for name in names[:6]) == {"0": 3, "1": 3}


def test_chance_goes_from_loop_to_loop(pool_of):
    """Every image has the same class; the later the loop, the more of the chosen ones are the most uncertain."""
    images = {f"{i:03d}": [[[0.98 - 0.002 * i, 0.01]] * 10] for i in range(200)}
    ranks = []
    for loop in (0, 2, 4):
        chosen = [
            int(name)
            for seed in range(10)
            for name in choose_images(
                "class_stratified", pool_of(images, count=20, seed=seed, loop=loop, loops=5)
            ).names
        ]
        ranks.append(sum(chosen) / len(chosen))
    assert ranks == sorted(ranks)
    assert ranks[0] < 130 < 165 < ranks[-1]


def test_class_stratified_repeats_for_a_seed(pool_of):
    pools = [pool_of(many(3), count=9, class_counts=(1, 1, 1), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (choose_images("class_stratified", pool).names for pool in pools)
    assert first == again != other


def test_ten_thousand_images_take_a_moment(pool_of):
    rng = np.random.default_rng(0)
    images = {f"{i:05d}": [[row] for row in rng.dirichlet([1, 1, 1], 3)[:, :2].tolist()] for i in range(2000)}
    pool = pool_of(images, count=200)
    assert len(choose_images("balanced_uncertainty", pool).names) == 200
    assert math.isfinite(sum(pool.class_counts))


def test_a_class_that_nothing_looks_like_is_no_reason_to_choose_by_name(pool_of):
    images = {f"{number:02d}": [[[0.6, 0.0]] * 10] for number in range(20)} | {"00 empty": []}
    chosen = [
        choose_images("class_stratified", pool_of(images, count=9, seed=seed), images_without_detections="choose").names
        for seed in range(3)
    ]
    assert len({tuple(sorted(names)) for names in chosen}) == 3
    assert not any("00 empty" in names for names in chosen)
