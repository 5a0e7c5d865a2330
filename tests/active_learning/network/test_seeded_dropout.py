from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.network.seeded_dropout import PassGenerators, SeededDropout, active_dropout

CPU = torch.device("cpu")


def drop(x, p=0.25, *, passes=(0,), rows=None, seed=0, name="a.jpg", calls=1):
    """What the last of so many calls of one layer gives."""
    layer = SeededDropout(p).eval()
    with active_dropout([layer], PassGenerators(seed, name, CPU), passes, rows or [len(x)]):
        for _ in range(calls):
            out = layer(x)
    return out


@settings(deadline=None, max_examples=25)
@given(
    p=st.floats(0, 0.9),
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_keeps_and_scales_or_drops(p, shape, seed):
    x = torch.rand(shape) + 1
    dropped = drop(x, p, seed=seed)
    assert dropped.shape == x.shape
    assert torch.allclose(dropped[dropped != 0], (x / (1 - p))[dropped != 0])
    assert torch.equal(drop(x, p, seed=seed), dropped)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.875, 0.9])
def test_drops_the_share(p):
    x = torch.ones(200_001, 1)
    dropped = drop(x, p)
    assert (dropped == 0).float().mean() == pytest.approx(p, abs=0.005)
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)
    assert (x == 1).all()


@pytest.mark.parametrize("p", [0.5, 0.3], ids=["8 bits", "16 bits"])
def test_neighbours_are_dropped_independently(p):
    kept = (drop(torch.ones(40_000, 1), p) != 0).float().flatten()
    for distance in (1, 2, 3, 4, 8):
        both = (kept[:-distance] * kept[distance:]).mean()
        assert both == pytest.approx((1 - p) ** 2, abs=0.01)


@pytest.mark.parametrize(
    "other", [{"passes": (1,)}, {"seed": 1}, {"name": "b.jpg"}, {"calls": 2}], ids=["pass", "seed", "image", "call"]
)
def test_what_dropout_depends_on(other):
    x = torch.ones(100, 8)
    assert not torch.equal(drop(x, **other), drop(x))


def test_layers_drop_independently():
    layers = [SeededDropout(0.5).eval() for _ in range(2)]
    x = torch.ones(50, 8)
    with active_dropout(layers, PassGenerators(0, "a", CPU), [0], [50]):
        assert not torch.equal(layers[0](x), layers[1](x))


@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=4), p=st.sampled_from([0.25, 0.3]))
@settings(deadline=None, max_examples=25)
def test_a_pass_drops_the_same_in_any_batch(rows, p):
    x = torch.ones(sum(rows), 3, 5)
    batch = drop(x, p, passes=range(len(rows)), rows=rows)
    alone = [drop(part, p, passes=[index]) for index, part in enumerate(x.split(rows))]
    assert torch.equal(batch, torch.cat(alone))


@pytest.mark.parametrize("p", [0.25, 0.3], ids=["8 bits", "16 bits"])
def test_rows_drop_the_same_whatever_follows(p):
    """In two blocks as in one, the first of them as long as the pilot block of the sampling."""
    x, generators, layer = torch.ones(100, 7), PassGenerators(0, "a.jpg", CPU), SeededDropout(p).eval()
    blocks = []
    for part in x.split(64):
        with active_dropout([layer], generators, [0], [len(part)]):
            blocks.append(layer(part))
    assert torch.equal(torch.cat(blocks), drop(x, p))
    assert torch.equal(drop(x[:40], p), drop(x, p)[:40])


def test_any_memory_order_and_16_bit_numbers():
    x = torch.rand(4, 6, 5, 5).to(memory_format=torch.channels_last).bfloat16()
    dropped = drop(x, 0.5)
    assert dropped.is_contiguous(memory_format=torch.channels_last)
    assert dropped.dtype == torch.bfloat16
    assert (dropped == 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_outside_it_is_plain_dropout():
    layer, x = SeededDropout(0.5), torch.ones(100, 8)
    with pytest.raises(KeyError), active_dropout([layer], PassGenerators(0, "a", CPU), [0], [100]):
        raise KeyError
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), x)
