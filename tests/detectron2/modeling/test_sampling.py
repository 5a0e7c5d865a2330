from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectron2.modeling import sampling
from detectron2.modeling.sampling import rows_where, subsample_labels, subsample_mask, subsample_rows


@given(st.lists(st.integers(-1, 3), max_size=60), st.integers(0, 80), st.floats(0, 1))
def test_sample(labels: list[int], num_samples: int, fraction: float) -> None:
    background = 3
    all_labels = torch.tensor(labels, dtype=torch.int64)
    positive, negative = subsample_labels(all_labels, num_samples, fraction, background)
    num_objects = sum(0 <= label < background for label in labels)
    assert len(positive) == min(num_objects, int(num_samples * fraction))
    assert len(negative) == min(labels.count(background), num_samples - len(positive))
    assert len(set(positive.tolist() + negative.tolist())) == len(positive) + len(negative)
    assert all(0 <= labels[i] < background for i in positive.tolist())
    assert all(labels[i] == background for i in negative.tolist())


def test_samples_are_random() -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    first, second = (subsample_labels(labels, 10, 0.5, bg_label=1)[0].tolist() for _ in range(2))
    assert first != second


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: True)


LABELS = st.lists(st.integers(-1, 3), max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LABELS, st.integers(0, 80), st.floats(0, 1))
def test_sample_of_fixed_size(as_on_a_gpu, labels: list[int], num_samples: int, fraction: float) -> None:
    all_labels = torch.tensor(labels, dtype=torch.int64)
    options = (num_samples, fraction, 3)
    num_positive = min(sum(0 <= label < 3 for label in labels), int(num_samples * fraction))
    num_negative = min(labels.count(3), num_samples - num_positive)
    rows, kinds = subsample_rows(all_labels, *options)
    assert len(rows) == len(set(rows.tolist())) == min(num_samples, len(labels))
    sampled = num_positive + num_negative
    assert (kinds[:num_positive] < 3).all()
    assert (kinds[num_positive:sampled] == 3).all()
    assert kinds[:sampled].tolist() == [labels[row] for row in rows[:sampled]]
    assert (kinds[sampled:] == -1).all()
    positive, negative = subsample_labels(all_labels, *options)
    assert (len(positive), len(negative)) == (num_positive, num_negative)
    assert all(0 <= labels[row] < 3 for row in positive.tolist())


@pytest.mark.parametrize("on_gpu", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LABELS, min_size=1, max_size=3), st.integers(0, 40), st.floats(0, 1))
def test_masks_of_several_images(monkeypatch, on_gpu: bool, rows: list[list[int]], count: int, fraction: float) -> None:
    monkeypatch.setattr(sampling, "counting_waits", lambda _: on_gpu)
    size = min(map(len, rows))
    labels = torch.tensor([own[:size] for own in rows], dtype=torch.int8).reshape(len(rows), size)
    masks = subsample_mask(labels, count, fraction, 3)
    assert masks.dtype is torch.bool
    for own, mask in zip(labels, masks, strict=True):
        num_positive = min(int(((own >= 0) & (own < 3)).sum()), int(count * fraction))
        assert ((own >= 0) & (own < 3) & mask).sum() == num_positive
        assert ((own == 3) & mask).sum() == min(int((own == 3).sum()), count - num_positive)
        assert not (mask & (own == -1)).any()


@pytest.mark.parametrize("on_gpu", [False, True])
def test_each_row_is_sampled_as_often_as_others(monkeypatch, on_gpu: bool) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(sampling, "counting_waits", lambda _: on_gpu)
    labels = torch.tensor([0] * 10 + [3] * 20)
    times = torch.zeros(30)
    for _ in range(2000):
        rows, kinds = subsample_rows(labels, 8, 0.5, 3)
        times[rows[kinds >= 0]] += 1
    torch.testing.assert_close(times[:10], torch.full((10,), 800.0), rtol=0.12, atol=0)
    torch.testing.assert_close(times[10:], torch.full((20,), 400.0), rtol=0.18, atol=0)


@given(st.lists(st.booleans(), max_size=20))
def test_rows_where(mask: list[bool]) -> None:
    rows, weights = rows_where(torch.tensor(mask, dtype=torch.bool))
    assert rows.tolist() == [row for row, is_set in enumerate(mask) if is_set]
    assert weights is None


def test_rows_where_on_a_gpu(as_on_a_gpu) -> None:
    mask, values = torch.tensor([True, False, True]), torch.arange(3.0)
    rows, weights = rows_where(mask)
    assert (values[rows] * weights).sum() == 2
