from __future__ import annotations

import pytest
from torch.utils.data import SequentialSampler

from detectron2.data.samplers import GroupedBatchSampler

_GROUPS = [0, 1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [(1, [[i] for i in range(7)]), (2, [[0, 2], [1, 3], [4, 5]]), (3, [[0, 2, 4], [1, 3, 6]]), (5, [])],
)
def test_batches_are_of_one_group(batch_size: int, expected: list[list[int]]) -> None:
    sampler = GroupedBatchSampler(SequentialSampler(_GROUPS), _GROUPS, batch_size)
    assert list(sampler) == expected
    assert list(sampler) == expected


def test_sampler_is_checked_and_length_unknown() -> None:
    with pytest.raises(TypeError, match="Sampler"):
        GroupedBatchSampler([0, 1], _GROUPS, 2)
    with pytest.raises(TypeError, match="number of batches"):
        len(GroupedBatchSampler(SequentialSampler(_GROUPS), _GROUPS, 2))
