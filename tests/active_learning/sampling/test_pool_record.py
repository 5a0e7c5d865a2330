from __future__ import annotations

import json
import math

import numpy as np
import pytest

from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.forward_passes import Look
from active_learning.sampling.observations import Detection, Mask
from active_learning.sampling.pool_record import PoolRecord, from_line, record_of, to_line


def seen(features: list[float], *probabilities: list[float]) -> Look:
    """Two passes that see the same square, with these probabilities in one pass each."""
    mask = Mask(2, 1, np.ones((4, 4), dtype=bool), 16)
    passes = tuple((Detection(mask, np.array([2, 1, 6, 5.006]), np.array(row)),) for row in probabilities)
    return Look(passes or ((),), np.array(features, dtype=np.float32), 24, 32)


def record(look: Look, name: str = "sub/grün, 1.png") -> PoolRecord:
    return record_of(name, look, certainty_of(look, iou_threshold=0.5, mode="mean"))


def test_a_record_holds_the_parts_of_each_objects_certainty():
    one = record(seen([1.5, -2], [0.9, 0.1], [0.5, 0.5]))
    (found,) = one.objects
    assert (one.height, one.width) == (24, 32)
    assert (found.size, found.mask, found.box, found.occurrence) == (2, 1, 1, 1)
    assert one.value == found.certainty == found.semantic
    assert found.mean_box == (2, 1, 6, 5.01)
    assert found.probabilities == (0.7, 0.3)
    assert found.entropy > found.mutual_information > 0
    assert found.margin == pytest.approx(0.4)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(seen([1 / 3, 70_000, -1e-3], [1 / 3, 0.1], [0.2, 0.7]), id="object"),
        pytest.param(seen([0.1]), id="nothing-seen"),
    ],
)
def test_a_line_gives_back_the_record_to_the_last_bit(look: Look):
    before = record(look)
    line = to_line(before)
    after = from_line(line)
    assert "\n" not in line
    assert after.objects == before.objects
    assert (after.name, repr(after.value)) == (before.name, repr(before.value))
    assert after.features.dtype == np.float32
    assert np.array_equal(after.features, before.features)
    assert np.isfinite(after.features).all()
    assert to_line(after) == line


def test_a_line_is_plain_json():
    document = json.loads(to_line(record(seen([0.5]))))
    assert document["name"] == "sub/grün, 1.png"
    assert document["value"] is None
    assert math.isnan(from_line(json.dumps(document)).value)


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"name": "a"}', to_line(record(seen([0.5], [0.5]))).replace("semantic", "romantic")]
)
def test_what_is_no_record_is_refused(line: str):
    with pytest.raises(ValueError, match=r".+"):
        from_line(line)
