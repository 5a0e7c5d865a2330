"""Results that are kept until what they come from changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from detectron2.layers.derived import Derived


def replaced(source: list[Tensor]) -> None:
    source[0] = torch.ones(3)


def changed(source: list[Tensor]) -> None:
    source[0].add_(1)


def given_other_memory(source: list[Tensor]) -> None:
    source[0].data = torch.ones_like(source[0])


def given_other_memory_twice(source: list[Tensor]) -> None:
    """The second may lie where the first memory was."""
    given_other_memory(source)
    source[0].data = torch.full_like(source[0], 2.0)


def left(source: list[Tensor]) -> None:
    pass


CHANGES = [(left, 1), (replaced, 2), (changed, 2), (given_other_memory, 2), (given_other_memory_twice, 2)]


@pytest.mark.parametrize(("change", "calculations"), CHANGES)
def test_calculated_anew_only_after_a_change(change, calculations: int) -> None:
    source, done, kept = [torch.zeros(100_000)], [], Derived()

    def calculate() -> Tensor:
        done.append(1)
        return source[0] * 2

    for _ in range(2):
        kept.get(source, calculate)
    change(source)
    torch.testing.assert_close(kept.get(source, calculate), source[0] * 2, rtol=0, atol=0)
    assert len(done) == calculations


def test_options_are_part_of_what_it_is_kept_for() -> None:
    source, kept = torch.ones(2), Derived()
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        assert kept.get([source], lambda dtype=dtype: source.to(dtype), dtype).dtype is dtype


def test_what_inference_mode_calculates_serves_training_too() -> None:
    source, kept, x = torch.ones(2), Derived(), torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        kept.get([source], lambda: source * 2)
    (x * kept.get([source], lambda: source * 2)).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_sources_of_inference_mode_are_never_taken_for_unchanged() -> None:
    kept = Derived()
    with torch.inference_mode():
        source = torch.ones(2)
        first = kept.get([source], lambda: source * 2)
        source.add_(1)
        assert (first.tolist(), kept.get([source], lambda: source * 2).tolist()) == ([2, 2], [4, 4])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda kept: pickle.loads(pickle.dumps(kept))])
def test_copies_are_empty(copied) -> None:
    source, kept = torch.ones(2), Derived()
    kept.get([source], lambda: source * 2)
    assert copied(kept).get([source], lambda: source * 3).tolist() == [3, 3]
