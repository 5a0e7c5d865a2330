from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch):
    def pretend(rank: int, world_size: int) -> None:
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


def _take(sampler, number: int) -> list[int]:
    return list(itertools.islice(sampler, number))


def test_each_pass_has_every_image_in_a_new_order() -> None:
    indices = _take(TrainingSampler(20, seed=1), 40)
    assert sorted(indices[:20]) == sorted(indices[20:]) == list(range(20))
    assert indices[:20] != indices[20:]


def test_order_depends_on_the_seed_only() -> None:
    assert _take(TrainingSampler(20, seed=1), 30) == _take(TrainingSampler(20, seed=1), 30)
    assert _take(TrainingSampler(20, seed=1), 30) != _take(TrainingSampler(20, seed=2), 30)


def test_unshuffled() -> None:
    assert _take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_processes_share_the_passes(as_rank) -> None:
    whole = _take(TrainingSampler(7, seed=1), 28)
    for rank in range(2):
        as_rank(rank, 2)
        assert _take(TrainingSampler(7, seed=1), 14) == whole[rank::2]


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_no_images(size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        TrainingSampler(size)


@pytest.mark.parametrize(
    ("sqrt", "expected"),
    [(True, [1.0, 2**0.5, 1.0, 1.0]), (False, [1.0, 2.0, 1.0, 1.0])],
    ids=["square root", "linear"],
)
def test_repeat_factors(sqrt: bool, expected: list[float]) -> None:
    # Class 0 is in 2 of 4 images, class 1 in 1, class 2 in none.
    classes = [[0, 0], [0, 1], [], []]
    dicts = [{"annotations": [{"category_id": c} for c in found]} for found in classes]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dicts, 0.5, sqrt)
    torch.testing.assert_close(factors, torch.tensor(expected))


def test_images_come_as_often_as_their_factor_says() -> None:
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0, 1.5, 3.25]), seed=0)
    passes = 2000
    counts = Counter(_take(sampler, int(passes * 7.75)))
    for index, factor in enumerate([1.0, 2.0, 1.5, 3.25]):
        assert counts[index] / passes == pytest.approx(factor, rel=0.03)


def test_repeats_are_whole_within_a_pass() -> None:
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0]), shuffle=False, seed=0)
    assert _take(sampler, 6) == [0, 1, 1, 0, 1, 1]


@given(st.integers(0, 50), st.integers(1, 8))
def test_every_image_is_inferred_once(size: int, world_size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comm, "get_world_size", lambda: world_size)
        parts = []
        for rank in range(world_size):
            patch.setattr(comm, "get_rank", lambda rank=rank: rank)
            sampler = InferenceSampler(size)
            parts.append(list(sampler))
            assert len(sampler) == len(parts[-1])
    assert list(itertools.chain.from_iterable(parts)) == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_negative_number_of_images() -> None:
    with pytest.raises(ValueError, match="-1"):
        InferenceSampler(-1)
