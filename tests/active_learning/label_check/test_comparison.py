from __future__ import annotations

import numpy as np
import pytest

from active_learning.label_check.comparison import LabelledObject, ObservedObject, compare, observe, outlines_of
from active_learning.sampling.observations import Detection, Mask


def square(x: int, y: int, side: int = 10) -> Mask:
    return Mask(x, y, np.ones((side, side), dtype=bool), side * side)


def detection(mask: Mask, *probabilities: float) -> Detection:
    return Detection(mask, np.array(mask.bounds, dtype=np.float64), np.array(probabilities))


def seen(mask: Mask, *probabilities: float) -> ObservedObject:
    return ObservedObject(mask, np.array(probabilities), 3, 1.0)


def test_an_observation_counts_passes_that_did_not_see_it_as_zero():
    passes = [
        [detection(square(0, 0), 0.9, 0.1)],
        [],
        [detection(square(1, 0), 0.6, 0.3), detection(square(1, 0), 0.1, 0.4)],
    ]
    (found,) = observe(passes, 0.5)
    assert found.passes == 2
    assert found.probabilities == pytest.approx([0.5, 0.4 / 3])
    assert found.foreground == pytest.approx(0.5 + 0.4 / 3)
    assert 0.8 < found.agreement < 1


def test_the_surest_observation_comes_first():
    passes = [[detection(square(0, 0), 0.3, 0.1), detection(square(50, 0), 0.9, 0.0)]]
    assert [one.mask.x for one in observe(passes, 0.5)] == [50, 0]


@pytest.mark.parametrize(
    ("objects", "observed", "expected"),
    [
        pytest.param([square(0, 0)], [seen(square(1, 0), 0.9, 0.0)], [(0, 3, 0.82)], id="one of each"),
        pytest.param([square(0, 0)], [], [(0, 0, 0.0)], id="nothing seen"),
        pytest.param([], [seen(square(0, 0), 0.9, 0.0)], [(-1, 3, 0.0)], id="nothing annotated"),
        pytest.param([], [], [], id="neither"),
        pytest.param([square(0, 0)], [seen(square(6, 0), 0.9, 0.0)], [(0, 3, 0.25)], id="a poor outline"),
        pytest.param([square(0, 0)], [seen(square(30, 0), 0.9, 0.0)], [(0, 0, 0.0), (-1, 3, 0.0)], id="apart"),
        pytest.param(
            [square(0, 0), square(6, 0)],
            [seen(square(3, 0), 0.9, 0.0), seen(square(0, 0), 0.8, 0.0)],
            [(0, 3, 1.0), (1, 3, 0.54)],
            id="each has the one that fits",
        ),
        pytest.param(
            [square(0, 0, 20)], [seen(square(0, 0, 20), 0.9, 0.0), seen(square(2, 2, 9), 0.5, 0.0)], [(0, 3, 1.0)],
            id="a part of an object is none of its own",
        ),
    ],
)  # fmt: skip
def test_what_belongs_together(objects: list[Mask], observed: list[ObservedObject], expected: list[tuple]):
    labelled = [LabelledObject(number, 0, mask) for number, mask in enumerate(objects)]
    found = compare(labelled, observed, 2)
    assert [(one.number, one.passes, round(one.iou, 2)) for one in found] == expected


def test_outlines_lie_where_the_mask_does():
    (outline,) = outlines_of(square(30, 40))
    assert {*outline[0::2]} == {30.0, 40.0}
    assert {*outline[1::2]} == {40.0, 50.0}
