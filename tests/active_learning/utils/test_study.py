"""What the study tools share."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.run.output_files import OutputFiles
from active_learning.run.weights import newest_weights
from active_learning.utils.study import evenly


@pytest.mark.parametrize(
    ("count", "expected"),
    [(9, list("abcdef")), (6, list("abcdef")), (3, ["a", "c", "e"]), (1, ["a"])],
    ids=["more than there are", "all", "some", "one"],
)
def test_images_are_taken_evenly(count: int, expected: list[str]):
    assert evenly("abcdef", count) == expected


def test_the_newest_weights(tmp_path: Path):
    files = OutputFiles(tmp_path / "results", tmp_path, "uncertainty")
    with pytest.raises(MaskALError, match="--weights"):
        newest_weights(files)
    files.final_model.touch()
    assert newest_weights(files) == files.final_model
    for loop in range(3):
        files.best_model(loop).touch()
    assert newest_weights(files) == files.best_model(2)
