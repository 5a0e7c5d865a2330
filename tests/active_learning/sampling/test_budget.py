"""Budgets of objects, in all strategies."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from active_learning.sampling.budget import expected_objects, images_for
from active_learning.sampling.pool import Pool
from active_learning.sampling.pool_record import PoolRecord
from active_learning.sampling.strategies import STRATEGIES, choose_images


@pytest.fixture
def records(make_record: Callable[..., PoolRecord]) -> dict[str, PoolRecord]:
    """40 images of 1 to 4 objects, each detected in all of the passes."""
    rng = np.random.default_rng(0)
    names = [f"{number:02d}" for number in range(40)]
    counts = rng.integers(1, 5, len(names))
    return {
        name: make_record(name, rng.uniform(0, 1, count).tolist(), [[[0.6, 0.3]] * 10] * count, rng.normal(size=3))
        for name, count in zip(names, counts.tolist(), strict=True)
    }


def pool_with(records: Mapping[str, PoolRecord], budget: float) -> Pool:
    costs = expected_objects(list(records), records, 2.0)
    features = np.zeros((1, 3), np.float32)
    return Pool(
        names=list(records),
        records=records,
        mode="mean",
        count=images_for(budget, costs),
        rng=random.Random(0),
        training_features=features,
        class_counts=[5, 1],
        costs=costs,
        budget=budget,
    )


def test_an_image_costs_its_occurrences_and_one_object_at_least(make_record: Callable[..., PoolRecord]) -> None:
    """make_record gives occurrence n / 10."""
    seen = make_record("seen", [0.5] * 3, [[[0.5, 0.2]] * 8] * 3)
    faint, empty = make_record("faint", [0.5], [[[0.5, 0.2]]]), make_record("empty")
    records = {one.name: one for one in (seen, faint, empty)}
    costs = expected_objects([*records, "not scored"], records, 3.5)
    assert costs == pytest.approx({"seen": 2.4, "faint": 1.0, "empty": 3.5, "not scored": 3.5})
    assert expected_objects(["empty"], records, 0.2) == {"empty": 1.0}
    assert images_for(10, costs) == 4  # of 2.6
    assert images_for(10, {}) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("min_distance", [0.0, 0.3])
def test_each_strategy_stops_where_the_budget_is_reached(
    records: dict[str, PoolRecord], strategy: str, min_distance: float
) -> None:
    pool = pool_with(records, 12)
    chosen = choose_images(strategy, pool, min_distance=min_distance).names
    spent = [pool.costs[name] for name in chosen]
    assert sum(spent[:-1]) < 12 <= sum(spent)
    assert chosen == choose_images(strategy, pool, min_distance=min_distance).names


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("without_detections", ["skip", "choose"])
def test_nothing_is_chosen_where_all_images_are_too_alike(
    records: dict[str, PoolRecord], strategy: str, without_detections: str
) -> None:
    features = np.stack([one.features for one in records.values()])
    pool = replace(pool_with(records, 12), training_features=features)
    chosen = choose_images(strategy, pool, images_without_detections=without_detections, min_distance=0.3)
    assert not chosen.names and sorted(chosen.held_back) == sorted(records)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_smallest_budget_is_an_image_and_the_largest_all(records: dict[str, PoolRecord], strategy: str) -> None:
    assert len(choose_images(strategy, pool_with(records, 1)).names) == 1
    assert sorted(choose_images(strategy, pool_with(records, 1e6)).names) == sorted(records)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_heed_the_number_of_images_that_the_budget_comes_to(
    records: dict[str, PoolRecord], strategy: str
) -> None:
    """So a budget chooses what that number of images would."""
    pool = pool_with(records, 15)
    chosen = choose_images(strategy, pool).names
    counted = replace(pool, count=len(chosen), costs={}, budget=None)
    assert choose_images(strategy, counted).names == chosen
