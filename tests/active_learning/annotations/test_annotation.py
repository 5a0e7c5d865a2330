"""The data model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from active_learning.annotations import Annotation, Bitmap, Instance, Part


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(Part(np.zeros((3, 2))), id="part"),
        pytest.param(Bitmap(0, 0, np.ones((2, 2), dtype=bool)), id="bitmap"),
        pytest.param(Instance("healthy"), id="instance"),
        pytest.param(Annotation("a.jpg", 10, 20), id="annotation"),
    ],
)
def test_records_cannot_be_changed(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, None)


def test_records_with_arrays_compare_by_identity():
    first, second = Part(np.zeros((3, 2))), Part(np.zeros((3, 2)))
    assert first == first
    assert first != second


def test_extra_fields_are_not_shared():
    assert Annotation("a.jpg", 1, 1).extra is not Annotation("b.jpg", 1, 1).extra
