from __future__ import annotations

import logging
import math

import pytest

from detectron2.config import get_cfg
from detectron2.evaluation import print_csv_format, verify_results
from detectron2.evaluation.testing import flatten_results_dict


def test_lines_to_copy(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("detectron2").propagate = True
    with caplog.at_level(logging.INFO):
        print_csv_format({"segm": {"AP": 12.34567, "AP50": math.nan, "AP-fig": 1.0}, "speed": 3})
    assert caplog.messages == [
        "copypaste: Task: segm",
        "copypaste: AP,AP50",
        "copypaste: 12.3457,nan",
        "copypaste: speed=3",
    ]


@pytest.mark.parametrize(
    ("expected", "right"),
    [
        ([], True),
        ([["segm", "AP", 40.0, 0.5]], True),
        ([["segm", "AP", 41.0, 0.5]], False),
        ([["segm", "AP", 40.0, 0.5], ["segm", "APs", 1.0, 100.0]], False),
        ([["segm", "AP75", 1.0, 100.0]], False),
        ([["bbox", "AP", 1.0, 100.0]], False),
    ],
    ids=["nothing", "close", "far", "nan", "missing metric", "missing task"],
)
def test_expected_results(expected: list, right: bool) -> None:
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = expected
    results = {"segm": {"AP": 40.2, "APs": math.nan}}
    if right:
        assert verify_results(cfg, results)
    else:
        with pytest.raises(SystemExit) as stopped:
            verify_results(cfg, results)
        assert stopped.value.code == 1


def test_flat_names() -> None:
    assert flatten_results_dict({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a/b/c": 1, "a/d": 2, "e": 3}
