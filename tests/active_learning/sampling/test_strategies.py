from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_learning.sampling.strategies import NEEDS_CERTAINTY, STRATEGIES, choose_images

VALUES = {"b": 0.5, "a": 0.5, "nan": math.nan, "low": 0.1, "high": 0.9}


@pytest.mark.parametrize(
    ("strategy", "pool_size", "without_detections", "chosen"),
    [
        pytest.param("uncertainty", 2, "skip", ["low", "a"], id="lowest-ties-by-name"),
        pytest.param("uncertainty", 2, "choose", ["nan", "low"], id="nothing-seen-counts-as-0"),
        pytest.param("uncertainty", 9, "skip", ["low", "a", "b", "high"], id="small-pool-is-taken-whole"),
        pytest.param("certainty", 2, "skip", ["high", "a"], id="highest-ties-by-name"),
        pytest.param("certainty", 9, "choose", ["high", "a", "b", "low", "nan"], id="nothing-seen-comes-last"),
        pytest.param("uncertainty", 0, "skip", [], id="none-wanted"),
    ],
)
def test_choice(strategy: str, pool_size: int, without_detections: str, chosen: list[str]) -> None:
    rng = random.Random(0)
    assert choose_images(strategy, VALUES, pool_size, rng=rng, images_without_detections=without_detections) == chosen


def test_every_setting_has_its_strategy() -> None:
    assert set(STRATEGIES) == {"uncertainty", "certainty", "random"}
    assert {"uncertainty", "certainty"} == NEEDS_CERTAINTY


@pytest.mark.parametrize("make_rng", [random.Random, np.random.default_rng], ids=["random", "numpy"])
def test_random_heeds_names_and_seed_alone(make_rng: type) -> None:
    names = [f"{index:03d}" for index in range(50)]
    draws = [
        choose_images("random", dict.fromkeys(order, value), 10, rng=make_rng(seed), images_without_detections="skip")
        for order, value, seed in ((names, math.nan, 1), (names[::-1], 0.3, 1), (names, math.nan, 2))
    ]
    assert len(set(draws[0])) == 10
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@given(values=st.dictionaries(st.text(max_size=4), st.floats(0, 1) | st.just(math.nan)), pool_size=st.integers(0, 20))
def test_never_more_than_there_are(strategy: str, values: dict[str, float], pool_size: int) -> None:
    chosen = choose_images(strategy, values, pool_size, rng=random.Random(0), images_without_detections="choose")
    assert len(chosen) == len(set(chosen)) == min(pool_size, len(values))
    assert set(chosen) <= set(values)


@pytest.mark.parametrize(
    ("strategy", "without_detections", "words"),
    [("best", "skip", "strategy 'best' is not one of uncertainty"), ("random", "keep", "'keep' is not skip or choose")],
)
def test_unknown_words(strategy: str, without_detections: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose_images(strategy, {}, 1, rng=random.Random(0), images_without_detections=without_detections)
