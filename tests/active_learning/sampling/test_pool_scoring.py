from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from active_learning.errors import MaskALError
from active_learning.sampling.look import Look
from active_learning.sampling.observations import Detection, Mask
from active_learning.sampling.pool_scoring import read_scores, score_pool

NAMES = ["a.jpg", "sub/b, c.jpg", "grün.png", "d.png"]


class Network:
    """Sees one object of the probability given for the image, or nothing; remembers what it looked at."""

    def __init__(self, faults: dict[str, Exception] | None = None) -> None:
        self.seen: list[str] = []
        self.faults = faults or {}

    def __call__(self, name: str) -> Look:
        self.seen.append(name)
        if name in self.faults:
            raise self.faults[name]
        mask = Mask(0, 0, np.ones((4, 4), dtype=bool), 16)
        seen = Detection(mask, np.array([0.0, 0.0, 3.0, 3.0]), np.array([1 / (len(name) + 1)]))
        return Look(((seen,) if name != "d.png" else (),), np.zeros(1, dtype=np.float32), 4, 4)


def score(network: Network, scores_file: Path, names: list[str] = NAMES) -> dict[str, float]:
    return score_pool(names, network, iou_threshold=0.5, mode="mean", scores_file=scores_file, progress=False)


@pytest.fixture
def scores_file(tmp_path: Path) -> Path:
    return tmp_path / "results" / "pool.csv"


def test_values_on_disk_are_the_values_returned(scores_file: Path) -> None:
    values = score(Network(), scores_file)
    assert list(values) == NAMES
    assert values["a.jpg"] == pytest.approx(1 / 6)
    assert math.isnan(values["d.png"])
    assert str(read_scores(scores_file)) == str(values)


@pytest.mark.parametrize(
    ("cut", "seen_again"),
    [
        pytest.param(0, [], id="all-there"),
        pytest.param(1, NAMES[3:], id="no-line-end"),
        pytest.param(12, NAMES[2:], id="half-a-line-more"),
        pytest.param(10_000, NAMES, id="nothing-left"),
    ],
)
def test_interrupted_run_goes_on(scores_file: Path, cut: int, seen_again: list[str]) -> None:
    whole = score(Network(), scores_file)
    content = scores_file.read_bytes()
    scores_file.write_bytes(content[: max(len(content) - cut, 0)])
    network = Network()
    assert str(score(network, scores_file)) == str(whole)
    assert network.seen == seen_again
    assert scores_file.read_bytes() == content


def test_cut_inside_a_letter_of_a_name(scores_file: Path) -> None:
    score(Network(), scores_file)
    content = scores_file.read_bytes()
    scores_file.write_bytes(content[: content.index("ü".encode()) + 1])
    score(Network(), scores_file)
    assert scores_file.read_bytes() == content


def test_each_value_is_on_disk_before_the_next_image(scores_file: Path) -> None:
    network = Network({"grün.png": KeyboardInterrupt()})  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        score(network, scores_file)
    assert list(read_scores(scores_file)) == NAMES[:2]


@pytest.mark.parametrize(
    "fault", [OSError("cannot identify image file"), SyntaxError("broken PNG file"), MaskALError("bad")], ids=repr
)
def test_corrupt_image_is_named_and_left_out(
    scores_file: Path, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    with caplog.at_level(logging.WARNING):
        values = score(Network({"a.jpg": fault}), scores_file)
    assert list(values) == NAMES[1:]
    assert f"a.jpg: cannot be read ({type(fault).__name__}: {fault}); it is left out" in caplog.messages
    assert "1 of 4 pool images could not be read and were left out" in caplog.messages


def test_fault_of_the_program_is_not_taken_for_a_corrupt_image(scores_file: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        score(Network({"a.jpg": RuntimeError("out of memory")}), scores_file)


def test_not_one_image_readable(scores_file: Path) -> None:
    with pytest.raises(MaskALError, match="none of the 2 pool images"):
        score(Network(dict.fromkeys(NAMES[:2], OSError("no"))), scores_file, NAMES[:2])


def test_images_that_left_the_pool_are_not_returned(scores_file: Path) -> None:
    score(Network(), scores_file)
    assert list(score(Network(), scores_file, NAMES[1:2])) == NAMES[1:2]


def test_empty_pool(scores_file: Path) -> None:
    assert score(Network(), scores_file, []) == {}


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg, high", ", 0.5"], ids=repr)
def test_spoilt_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pool.csv"
    path.write_text(f"x.jpg, 0.5\n{line}\ny.jpg, 0.5\n", encoding="utf-8")
    with pytest.raises(MaskALError, match=r"pool.csv: line 2: .*delete the file"):
        read_scores(path)


def test_progress_bar(scores_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    score_pool(NAMES, Network(), iou_threshold=0.5, mode="mean", scores_file=scores_file)
    assert "4/4" in capfd.readouterr().err
