from __future__ import annotations

import numpy as np
import pytest

from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.observations import Detection, ForwardPasses, Mask
from active_learning.sampling.pool_record import PoolRecord, record_of


def passes_with(features: list[float], *probabilities: list[float]) -> ForwardPasses:
    """Two passes that detect the same square, with these probabilities in one pass each."""
    mask = Mask(2, 1, np.ones((4, 4), dtype=bool), 16)
    passes = tuple((Detection(mask, np.array([2, 1, 6, 5.006]), np.array(row)),) for row in probabilities)
    return ForwardPasses(passes or ((),), np.array(features, dtype=np.float32), 24, 32)


def record(forward_passes: ForwardPasses, name: str = "sub/grün, 1.png") -> PoolRecord:
    return record_of(name, forward_passes, certainty_of(forward_passes.passes, iou_threshold=0.5, mode="mean"))


def test_a_record_holds_the_parts_of_each_objects_certainty():
    one = record(passes_with([1.5, -2], [0.9, 0.1], [0.5, 0.5]))
    (found,) = one.objects
    assert (one.height, one.width) == (24, 32)
    assert (found.size, found.mask, found.box, found.occurrence) == (2, 1, 1, 1)
    assert one.value == found.certainty == found.semantic
    assert found.mean_box == (2, 1, 6, 5.01)
    assert found.probabilities == (0.7, 0.3)
    assert found.entropy > found.mutual_information > 0
    assert found.margin == pytest.approx(0.4)


def test_features_are_rounded_as_in_a_file():
    features = record(passes_with([1 / 3, 70_000, -1e-3])).features
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.array_equal(features.astype(np.float16).astype(np.float32), features)
