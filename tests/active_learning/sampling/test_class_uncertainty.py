from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from active_learning.sampling.class_uncertainty import class_uncertainty

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("members", "entropy", "margin", "mutual_information"),
    [
        pytest.param([[1.0, 0.0], [1.0, 0.0]], 0, 1, 0, id="sure"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], LN2, 0, 0, id="all-passes-undecided"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], LN2, 0, LN2, id="passes-disagree"),
        pytest.param([[0.5]], LN2, 0, 0, id="one-class-against-none"),
        pytest.param([[1.0], [0.0]], LN2, 0, LN2, id="one-class-passes-disagree"),
        pytest.param([[0.7, 0.2]], -sum(p * math.log(p) for p in (0.7, 0.2, 0.1)), 0.5, 0, id="background-counts"),
        pytest.param([[0.75, 0.75]], LN2, 0, 0, id="sum-above-1"),
    ],
)
def test_worked_cases(members, entropy, margin, mutual_information):
    uncertainty = class_uncertainty(np.array(members))
    assert uncertainty.entropy == pytest.approx(entropy, abs=1e-12)
    assert uncertainty.margin == pytest.approx(margin, abs=1e-12)
    assert uncertainty.mutual_information == pytest.approx(mutual_information, abs=1e-12)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0.01, 1)))
def test_ranges(raw):
    members = raw / (raw.sum(axis=1, keepdims=True) + 0.1)
    uncertainty = class_uncertainty(members)
    assert 0 <= uncertainty.mutual_information <= uncertainty.entropy + 1e-12
    assert uncertainty.entropy <= math.log(members.shape[1] + 1) + 1e-12
    assert 0 <= uncertainty.margin <= 1
