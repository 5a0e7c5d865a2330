from __future__ import annotations

import random

import numpy as np
import pytest

from active_learning.sampling.k_means import central_images


def test_each_cluster_gives_the_image_nearest_to_its_centre() -> None:
    places = np.array([[0, 0], [100, 0], [0, 100]])
    around = np.array([[-2, 0], [2, 0], [0, 0.5], [0, 2], [0, -2]])
    features = (places[:, None] + around).reshape(-1, 2).astype(np.float64)
    for seed in range(5):
        assert sorted(central_images(features, 3, random.Random(seed))) == [2, 7, 12]


def test_the_choice_depends_on_the_seed_alone() -> None:
    features = np.random.default_rng(0).normal(size=(2100, 6))
    chosen = central_images(features, 40, random.Random(1))
    assert chosen == central_images(features, 40, random.Random(1))
    assert chosen != central_images(features, 40, random.Random(2))
    assert len(set(chosen)) == 40


@pytest.mark.parametrize("count", [1, 4, 9])
def test_equal_images_are_taken_where_there_are_no_others(count: int) -> None:
    features = np.array([[0.0]] * 6 + [[1.0]] * 3)
    chosen = central_images(features, count, random.Random(0))
    assert len(set(chosen)) == count
    assert len({float(features[index, 0]) for index in chosen}) == min(count, 2)


@pytest.mark.parametrize(
    ("features", "count"),
    [
        (np.zeros((6, 2)), 1),
        (np.zeros((6, 2)), 3),
        (np.array([[0.1, 7.3], [0.4, 7.7], [90.1, 3.0], [90.7, 3.3]]), 2),
        (np.array([[0.0]] * 5 + [[1.0]]), 4),
    ],
    ids=["one of equal ones", "some of equal ones", "one of two, which are equally near", "what fills up"],
)
def test_chance_decides_between_equal_ones(features, count: int) -> None:
    chosen = [central_images(features, count, random.Random(seed)) for seed in range(60)]
    assert {index for own in chosen for index in own} == set(range(len(features)))


def test_an_outlier_has_a_cluster_of_its_own() -> None:
    features = np.concatenate([np.random.default_rng(0).normal(size=(50, 3)), [[50.0, 0, 0]]])
    assert 50 in central_images(features, 5, random.Random(0))


@pytest.mark.parametrize("count", [0, 4])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="must be from 1 to the number of images, 3"):
        central_images(np.zeros((3, 2)), count, random.Random(0))
