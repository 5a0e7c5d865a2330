"""Matching of detections with annotations, and the map."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from active_learning.utils.tsne import Match, embed, match, objects_csv, plot


def masks(*spans: tuple[int, int]) -> np.ndarray:
    """(n, 1, 20): a row of pixels each."""
    found = np.zeros((len(spans), 1, 20), dtype=bool)
    for one, (start, end) in zip(found, spans, strict=True):
        one[0, start:end] = True
    return found


@pytest.mark.parametrize(
    ("annotated", "detected", "pairs"),
    [
        ([(0, 10)], [(0, 8)], [(0, 0, 0.8)]),
        ([(0, 10)], [(0, 5)], []),
        ([(0, 10)], [(0, 7), (0, 9)], [(0, 1, 0.9)]),
        ([(0, 10), (10, 20)], [(10, 18), (0, 9)], [(0, 1, 0.9), (1, 0, 0.8)]),
        ([], [(0, 5)], []),
        ([(3, 3)], [(3, 3)], []),
    ],
    ids=["overlap", "at the threshold", "the larger overlap", "each once", "none annotated", "empty masks"],
)
def test_match(annotated: list, detected: list, pairs: list):
    found = match(masks(*annotated), masks(*detected), 0.5)
    assert [pair[:2] for pair in found] == [pair[:2] for pair in pairs]
    assert [pair[2] for pair in found] == pytest.approx([pair[2] for pair in pairs])


@pytest.fixture
def objects() -> list[Match]:
    """20 of each of two classes, far apart; one taken for the other."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (20, 8)), rng.normal(20, 1, (20, 8))]).astype(np.float32)
    names = ["a $x_1$"] * 20 + ["花, b"] * 20
    predicted = ["花, b", *names[1:]]
    return [Match("i.png", *row, 0.9, 0.8, feature) for *row, feature in zip(names, predicted, features, strict=True)]


def test_classes_that_differ_lie_apart(objects: list[Match]):
    pytest.importorskip("sklearn", reason="the extra `study` is not installed")
    places = embed(np.stack([one.features for one in objects]), seed=0)
    centres = places[:20].mean(axis=0), places[20:].mean(axis=0)
    spread = np.linalg.norm(places[:20] - centres[0], axis=1).mean()
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    assert np.array_equal(places, embed(np.stack([one.features for one in objects]), seed=0))


def test_the_map_is_plotted_and_written(objects: list[Match], tmp_path):
    places = np.random.default_rng(1).normal(size=(40, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib would warn of each character that its font lacks
        plot(objects, places, ["a $x_1$", "花, b", "never seen"], tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    lines = objects_csv(objects, places).splitlines()
    assert len(lines) == 41
    assert lines[1].startswith('i.png,a $x_1$,"花, b",0.9000,0.8000,')
