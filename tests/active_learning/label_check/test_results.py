"""What a run keeps of its label check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from active_learning.label_check.passes import ComparedImage
from active_learning.label_check.results import read_detected, write_detected
from active_learning.run.output_files import OutputFiles
from tests.active_learning.label_check.conftest import match, missing


@pytest.fixture
def files(tmp_path: Path) -> OutputFiles:
    return OutputFiles(tmp_path / "results", tmp_path / "weights", "uncertainty")


def test_what_the_network_detected_is_read_back_as_it_was(files: OutputFiles):
    images = [
        ComparedImage("val", "00.png", 100, 120, (match(), missing())),
        ComparedImage("test", "ü/01.png", 50, 60, (match(1, (0.0, 0.0, 0.0), number=3),), "digest"),
        ComparedImage("val", "02.png", 1, 1, ()),
    ]
    write_detected(files, 0, images)
    again = read_detected(files, 0, 3)
    assert again is not None
    for one, other in zip(images, again, strict=True):
        assert (one.split, one.name, one.height, one.width) == (other.split, other.name, other.height, other.width)
        assert one.digest == other.digest
        for before, after in zip(one.matches, other.matches, strict=True):
            assert np.allclose(before.probabilities, after.probabilities)
            assert (before.number, before.label, before.box, before.area) == (
                after.number,
                after.label,
                after.box,
                after.area,
            )
            assert (before.passes, before.agreement, before.iou) == (after.passes, after.agreement, after.iou)


def test_only_the_last_two_loops_are_kept(files: OutputFiles):
    for loop in range(4):
        write_detected(files, loop, [])
    assert [read_detected(files, loop, 3) for loop in range(4)] == [None, None, [], []]
