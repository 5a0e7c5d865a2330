from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from detectron2.utils.env import random_states, random_states_kept, seed_for_item, set_random_states


def sample() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.randn(1).item()]


def test_samples_are_repeated() -> None:
    sample()  # leaves half of a pair of Gaussian numbers in Python's and numpy's generators
    states = random_states()
    before = sample()
    sample()
    set_random_states(states)
    assert sample() == before


def test_states_survive_a_checkpoint_that_runs_no_code() -> None:
    file = io.BytesIO()
    torch.save(random_states(), file)
    expected = sample()
    file.seek(0)
    set_random_states(torch.load(file, weights_only=True))
    assert sample() == expected


def test_draws_inside_are_undone_also_after_an_error() -> None:
    states = random_states()
    expected = sample()
    set_random_states(states)
    with pytest.raises(ValueError, match="inside"), random_states_kept():
        sample()
        raise ValueError("inside")
    assert sample() == expected


@pytest.mark.gpu
def test_cuda_samples_are_repeated() -> None:
    torch.rand(1, device="cuda")
    states = random_states()
    before = torch.rand(4, device="cuda")
    set_random_states(states)
    assert torch.equal(torch.rand(4, device="cuda"), before)


def test_items_have_their_own_samples() -> None:
    seen = []
    with random_states_kept():
        for numbers in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0), (1, 0, 0)):
            seed_for_item(*numbers)
            seen.append(tuple(sample()))
    assert seen[0] == seen[-1]
    assert len(set(seen)) == 4
