from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.modeling.sampling import subsample_labels


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
