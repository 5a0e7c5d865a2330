from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

NUMBER = 7


def _draw(item: dict[str, Any]) -> dict[str, Any] | None:
    """The item with a draw of each generator; now and then nothing."""
    sampled = (float(np.random.rand()), torch.rand(1).item())
    return None if sampled[0] < 0.1 else {**item, "sampled": sampled}


def _ids(batch: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple((item["id"], *item["sampled"]) for item in batch)


def make_loader(grouping: bool = False, workers: int = 0, **options: Any) -> Any:
    images = [{"id": i, "width": 1 + i % 3, "height": 2} for i in range(NUMBER)]
    arguments: dict[str, Any] = {"mapper": _draw, "total_batch_size": 3, **options}
    return build_detection_train_loader(images, aspect_ratio_grouping=grouping, num_workers=workers, **arguments)


def take(batches: Iterable[Any], number: int) -> list[Any]:
    return [_ids(batch) for batch in itertools.islice(batches, number)]


@pytest.mark.parametrize("sampler", [TrainingSampler, RepeatFactorTrainingSampler])
@pytest.mark.parametrize(("workers", "later_workers"), [(0, 0), (2, 2), (2, 1)], ids=["none", "two", "two, one"])
@pytest.mark.parametrize("grouping", [False, True], ids=["in order", "grouped"])
def test_another_loader_goes_on_with_the_same_items_and_samples(grouping, workers, later_workers, sampler):
    images = NUMBER if sampler is TrainingSampler else torch.linspace(1, 2.5, NUMBER)
    seed_all_rng(1)
    first = make_loader(grouping, workers, sampler=sampler(images))
    batches = iter(first)
    take(batches, 5)
    state = first.state_dict()
    expected = take(batches, 8)
    seed_all_rng(2)
    second = make_loader(grouping, later_workers, sampler=sampler(images))
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert take(second, 8) == expected


def test_the_number_of_workers_does_not_change_which_images_make_a_batch() -> None:
    orders = []
    for workers in (0, 2):
        seed_all_rng(1)
        batches = itertools.islice(make_loader(workers=workers, mapper=None), 6)
        orders.append([[image["id"] for image in batch] for batch in batches])
    assert orders[0] == orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_follow_the_global_seed(workers: int) -> None:
    sampled = []
    for seed in (1, 1, 2):
        seed_all_rng(seed)
        sampled.append(take(make_loader(workers=workers, sampler=TrainingSampler(NUMBER, seed=0)), 2))
    assert sampled[0] == sampled[1] != sampled[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_seeds_are_sampled_from_a_generator_that_is_given(workers: int) -> None:
    sampled, before = [], torch.get_rng_state()
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        loader = make_loader(workers=workers, sampler=TrainingSampler(NUMBER, seed=0), generator=generator)
        sampled.append((take(loader, 2), take(loader, 2)))
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled[0][0] != sampled[0][1]
    assert torch.equal(torch.get_rng_state(), before)


def test_reading_leaves_the_random_numbers_of_this_process_alone() -> None:
    batches = iter(make_loader())
    before = torch.get_rng_state()
    take(batches, 3)
    assert torch.equal(torch.get_rng_state(), before)


def _draw_one(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "sampled": (float(np.random.rand()),)}


@pytest.mark.parametrize(
    "workers", [{}, {"workers": 1}, {"workers": 1, "persistent_workers": True}], ids=["none", "one", "persistent"]
)
@pytest.mark.parametrize("grouping", [False, True], ids=["in order", "grouped"])
def test_each_pass_samples_anew_from_the_start(grouping: bool, workers: dict[str, Any]) -> None:
    loader = make_loader(grouping, mapper=_draw_one, **workers)
    first, second = take(loader, 4), take(loader, 4)
    assert [[one[0] for one in batch] for batch in first] == [[one[0] for one in batch] for batch in second]
    assert first != second


def test_processes_sample_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        seed_all_rng(1)
        sampled.append(take(make_loader(), 1)[0][0][1:])
    assert sampled[0] != sampled[1]


def test_with_fewer_processes_the_order_goes_on_where_all_were(monkeypatch: pytest.MonkeyPatch) -> None:
    order = list(itertools.islice(TrainingSampler(NUMBER, seed=4), 40))
    state = {"seed": 1, "position": 6, "world_size": 2, "sampler": {"seed": 4}}
    loader = make_loader(mapper=None)
    loader.load_state_dict(state)
    assert [image["id"] for image in next(iter(loader))] == order[12:15]


def test_a_loader_with_collation_resumes() -> None:
    first, second = (make_loader(grouping=True, collate_fn=_ids) for _ in range(2))
    batches = iter(first)
    next(batches)
    second.load_state_dict(first.state_dict())
    assert next(iter(second)) == next(batches)


class _Stream(IterableDataset):
    def __iter__(self):
        return ({"id": i, "width": 2, "height": 1} for i in itertools.count())


@pytest.mark.parametrize("collate_fn", [None, len], ids=["list", "collated"])
def test_a_users_own_stream_has_no_place_that_can_be_known(collate_fn: Any) -> None:
    loader = build_detection_train_loader(_Stream(), mapper=None, total_batch_size=2, collate_fn=collate_fn)
    next(iter(loader))
    assert loader.state_dict() == {}


def test_before_the_first_pass_there_is_no_place() -> None:
    assert make_loader().state_dict() == {}
    assert make_loader(grouping=True).state_dict() == {}
