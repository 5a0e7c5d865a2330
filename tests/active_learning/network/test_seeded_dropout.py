from __future__ import annotations

import hashlib
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.network import seeded_dropout
from active_learning.network.seeded_dropout import SeededDropout, active_dropout, bits_of, pass_streams

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
MANY = 2**18


def rows_of(counts):
    """passes and objects of a batch with so many rows of each pass."""
    passes = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return passes, torch.cat([torch.arange(count) for count in counts])


def drop(x, p=0.25, *, passes=None, objects=None, key="0 a.jpg", layer=0, uses=1):
    """What the last of so many uses of one layer gives; by default all rows are objects of the first pass."""
    layers = [SeededDropout(p).eval() for _ in range(layer + 1)]
    passes = torch.zeros(len(x), dtype=torch.int64) if passes is None else passes
    objects = torch.arange(len(x)) if objects is None else objects
    with active_dropout(layers, key, pass_streams(passes.to(x.device)), objects.to(x.device)):
        for _ in range(uses):
            out = layers[layer](x)
    return out


def dropped(p, shape=(64, MANY // 64), **keys):
    """(elements,) 1 where it is dropped, else 0."""
    return (drop(torch.ones(shape), p, **keys) == 0).double().flatten()


def in_plain_python(p, key, index, layer, use, place, element, count):
    """Is an element of so many of an object dropped? The definition, without tensors."""

    def hashed(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    digest = hashlib.sha256(f"{use} {layer} {key}".encode()).digest()
    start, step = (int.from_bytes(digest[at : at + 4], "big") for at in (0, 4))
    start, step = start ^ hashed(index), step & ~1 ^ (hashed(index + 2**16) | 1)
    bits = bits_of(p)
    size = max(bits, 8)
    numbers = math.ceil(count * bits / 32) * 32 // size
    shift, number = divmod(element, numbers)
    word, part = divmod(place * numbers + number, 32 // size)
    value = hashed((start + word * step) % 2**32) >> part * size
    value = (value << shift * bits) % 2**size
    return (value ^ 2 ** (size - 1)) >= 2**size - max(round(p * 2**size), 1)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), p=st.sampled_from([0.5, 0.25, 0.0625, 0.1, 0.3, 0.328125, 0.9, 1e-6]))
def test_every_element_is_as_defined(device, data, p):
    index, place = data.draw(st.integers(0, 1000)), data.draw(st.integers(0, 2000))
    layer, use, elements = (data.draw(st.integers(0, most)) for most in (2, 1, 40))
    key = f"{data.draw(st.integers(0, 2**32 - 1))} {data.draw(st.text())}"
    rows = {"passes": torch.tensor([index]), "objects": torch.tensor([place])}
    out = drop(torch.ones(1, elements, device=device), p, key=key, layer=layer, uses=use + 1, **rows)
    expected = [in_plain_python(p, key, index, layer, use, place, element, elements) for element in range(elements)]
    assert (out[0] == 0).tolist() == expected


@settings(deadline=None, max_examples=25)
@given(
    p=st.floats(0, 0.9),
    shape=st.lists(st.integers(0, 9), min_size=2, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_keeps_and_scales_or_drops(p, shape, seed):
    x = torch.rand(shape) + 1
    out = drop(x, p, key=f"{seed} a.jpg")
    assert out.shape == x.shape
    assert torch.allclose(out[out != 0], (x / (1 - p))[out != 0])
    assert torch.equal(drop(x, p, key=f"{seed} a.jpg"), out)


@pytest.mark.parametrize("p", [0.0, 2**-12, 0.1, 0.25, 0.5, 0.65625, 0.875, 0.9])
def test_drops_the_share(p):
    """Over a million elements, within four standard deviations; on average nothing changes."""
    x = torch.ones(512, 2048)
    out = drop(x, p)
    assert (out == 0).double().mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / x.numel()) + 2**-17)
    assert out.mean() == pytest.approx(1.0, abs=0.01)
    assert (x == 1).all()


def correlation(one, other):
    """In standard deviations of that of independent ones."""
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1]) * math.sqrt(len(one))


OTHERS = {
    "pass": [{"passes": torch.full((64,), index)} for index in (0, 1, 2, 3, 255, 999)],
    "layer": [{"layer": number} for number in range(6)],
    "use": [{"uses": number} for number in range(1, 7)],
    "object": [{"objects": torch.arange(first, first + 64)} for first in (0, 64, 128, 512, 1024, 4096)],
    "image": [{"key": f"0 image_{number:03d}.jpg"} for number in range(6)],
    "seed": [{"key": f"{seed} a.jpg"} for seed in (0, 1, 2, 3, 4, 2**32 - 1)],
}


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1])
@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_what_dropout_depends_on_is_independent(others, p):
    """All pairs of neighbours, in all places and in the next ones."""
    masks = [dropped(p, **keys) for keys in others]
    for one, other in itertools.combinations(masks, 2):
        for distance in (0, 1, 4, 64):
            assert abs(correlation(one[: MANY - distance], other[distance:])) < 4.5


@pytest.mark.parametrize("p", [0.5, 0.25, 0.0625, 0.1], ids=["1 bit", "2 bits", "4 bits", "16 bits"])
def test_elements_are_independent(p):
    """Of neighbours, of those that share a byte or a word, of those in one place of neighbouring objects."""
    mask = dropped(p).view(64, -1)
    count = mask.shape[1]
    for distance in (1, 2, 3, 4, 8, 16, count // 8, count // 4, count // 2):
        one, other = mask[:, :-distance].flatten(), mask[:, distance:].flatten()
        assert abs(correlation(one, other)) < 4.5
    for distance in (1, 2, 8, 32):
        assert abs(correlation(mask[:-distance].flatten(), mask[distance:].flatten())) < 4.5


@pytest.mark.parametrize("rows", ["passes", "objects", "seeds"])
def test_corners_of_rectangles_are_independent(rows):
    """Even in pairs of pairs: what is a sum of rows and columns would show here, and in nothing above."""
    many = torch.arange(256)
    given = {"passes": {"passes": many, "objects": 0 * many}, "objects": {}}
    if rows == "seeds":
        mask = torch.stack([dropped(0.5, shape=(1, 1024), key=f"{seed} a.jpg") for seed in range(256)])
    else:
        mask = dropped(0.5, shape=(256, 1024), **given[rows]).view(256, -1)
    sign = 1 - 2 * mask
    for across, down in itertools.product((1, 2, 16, 64, 256), (1, 2, 16, 64)):
        corners = sign[down:, across:] * sign[:-down, across:] * sign[down:, :-across] * sign[:-down, :-across]
        assert abs(float(corners.mean())) * math.sqrt(corners.numel()) < 4.5


def test_numbers_dropped_of_a_row_are_spread_as_by_chance():
    """Chi squared of 4096 rows of 256 elements about the binomial distribution: mean 64, variance 48."""
    counts = dropped(0.25, shape=(4096, 256)).view(4096, 256).sum(dim=1)
    dispersion = float(((counts - 64) ** 2 / 48).sum())
    assert abs(dispersion - 4096) < 4 * math.sqrt(2 * 4096)


def test_the_hash_changes_half_of_all_bits_for_each_bit():
    given_bits = torch.arange(4096, dtype=torch.int32) * 0x2545F491
    flips = torch.stack([torch.tensor(1 << bit if bit < 31 else -(2**31), dtype=torch.int32) for bit in range(32)])
    changed = seeded_dropout._hash_(given_bits.clone()) ^ seeded_dropout._hash_(given_bits ^ flips[:, None])
    share = torch.stack([(changed & flip != 0).double().mean(dim=1) for flip in flips])
    assert share.min() > 0.5 - 5 * 0.5 / 64
    assert share.max() < 0.5 + 5 * 0.5 / 64


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4), p=st.sampled_from([0.25, 0.3]))
@settings(deadline=None, max_examples=25)
def test_a_pass_drops_the_same_in_any_batch(counts, p):
    x = torch.ones(sum(counts), 3, 5)
    passes, objects = rows_of(counts)
    batch = drop(x, p, passes=passes, objects=objects)
    order = torch.randperm(len(x))
    assert torch.equal(drop(x, p, passes=passes[order], objects=objects[order]), batch[order])
    alone = [
        drop(x[:1], p, passes=index[None], objects=place[None]) for index, place in zip(passes, objects, strict=True)
    ]
    assert torch.equal(batch, torch.cat([x[:0], *alone]))


@pytest.mark.parametrize("p", [0.25, 0.3], ids=["2 bits", "16 bits"])
def test_rows_are_worked_on_in_blocks(p, monkeypatch):
    x = torch.ones(100, 7, 3)
    whole = drop(x, p)
    monkeypatch.setattr(seeded_dropout, "WORDS_AT_ONCE", 1)
    assert torch.equal(drop(x, p), whole)


def test_any_memory_order_and_16_bit_numbers():
    x = torch.rand(4, 6, 5, 5).bfloat16() + 1
    out = drop(x.to(memory_format=torch.channels_last), 0.5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.dtype == torch.bfloat16
    assert (out == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(out, drop(x, 0.5))


def test_outside_it_is_plain_dropout():
    layer, x = SeededDropout(0.5), torch.ones(100, 8)
    passes, objects = rows_of([100])
    with pytest.raises(KeyError), active_dropout([layer], "0 a", pass_streams(passes), objects):
        raise KeyError
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), x)
