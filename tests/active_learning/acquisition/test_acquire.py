"""Which images a loop has scored, what it chooses and writes; a fake plays the network."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.acquisition import acquire
from active_learning.acquisition.acquire import Acquisition, score_images
from active_learning.errors import MaskALError
from active_learning.network import mc_dropout, prediction
from active_learning.run.output_files import output_files
from active_learning.sampling.observations import ForwardPasses
from active_learning.sampling.strategies import WEAK_DETECTIONS
from active_learning.settings import Settings
from active_learning.system.log import logger
from detectron2.config import get_cfg

POOL = [f"{index:02d}.png" for index in range(8)]
TRAINING = ["13.png", "12.png"]


@pytest.fixture
def scored(monkeypatch, make_record) -> list[tuple[list[str], int, str]]:
    """(images, passes, name of the records file) of each scoring. 01 cannot be read, in 02 nothing is detected."""
    scored = []

    def score_images(cfg: object, weights: Path, folder: Path, images: Sequence[str], **options):
        scored.append((list(images), options["passes"], options["records_file"].name))
        numbers = {name: int(name[:2]) for name in images if name != "01.png"}
        records = [make_record(n, [i / 100] * (i != 2), features=[i // 2, 1]) for n, i in numbers.items()]
        return {record.name: record for record in records}

    monkeypatch.setattr(acquire, "score_images", score_images)
    monkeypatch.setattr(
        acquire, "explain_images", lambda *where, **what: scored.append((what["images"], 0, "explained"))
    )
    return scored


def choose(settings: Settings, **changes: object) -> acquire.ChosenImages:
    settings = Settings(**{**settings.model_dump(), **changes})
    experiment = settings.experiments()[0]
    files = output_files(settings, experiment)
    counts = {"a": 5, "b": 1}
    acquisition = Acquisition(settings, experiment, files, 0, 1, get_cfg, Path("best.pth"), lambda: counts)
    chosen = acquisition.choose(POOL, TRAINING)
    acquisition.explain(chosen.certainty)
    return chosen


def test_the_least_certain_with_their_certainty(settings, scored):
    assert choose(settings).certainty == {"00.png": 0.0, "03.png": 0.03, "04.png": 0.04}
    assert scored == [(POOL, 10, "pool_records000.jsonl"), (["00.png", "03.png", "04.png"], 0, "explained")]
    written = output_files(settings, settings.experiments()[0]).pool_scores(0).read_text(encoding="utf-8")
    lines = written.splitlines()
    assert lines[:3] == ["00.png, 0.0", "02.png, nan", "03.png, 0.03"]
    assert len(lines) == 7


def test_an_image_that_cannot_be_explained_is_chosen_all_the_same(settings, scored, monkeypatch, caplog):
    def fail(*where: object, **what: object) -> None:
        raise MaskALError("00.png: cannot be read")

    monkeypatch.setattr(acquire, "explain_images", fail)
    assert list(choose(settings).certainty) == ["00.png", "03.png", "04.png"]
    assert "will not show why these images were chosen: 00.png: cannot be read" in caplog.text


def test_random_scores_nothing_and_takes_what_cannot_be_read_too(settings, scored):
    chosen = choose(settings, strategy="random", pool_size=8).certainty
    assert set(chosen) == set(POOL)
    assert all(math.isnan(value) for value in chosen.values())
    assert scored == []


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [({"strategy": "coreset"}, [{"00.png"}, {"06.png", "07.png"}]), ({"strategy": "random", "min_distance": 0.1}, [])],
    ids=["coreset", "min_distance"],
)
def test_training_images_are_scored_once_where_they_are_compared_with(settings, scored, changes, chosen):
    found = choose(settings, **changes).certainty
    assert scored[1:-1] == [(sorted(TRAINING), 1, "training_records000.jsonl")]
    assert all(name in equal for name, equal in zip(found, chosen, strict=False))


def test_class_balanced_knows_the_training_set(settings, scored):
    assert len(choose(settings, strategy="class_balanced").certainty) == 3
    assert [passes for _, passes, _ in scored] == [10, 0]


@pytest.mark.parametrize(
    ("changes", "threshold"),
    [
        ({"strategy": "uncertainty"}, get_cfg().MODEL.ROI_HEADS.SCORE_THRESH_TEST),
        ({"strategy": "balanced_uncertainty"}, WEAK_DETECTIONS),
        ({"strategy": "balanced_uncertainty", "sampling_threshold": 0.3}, 0.3),
        ({"strategy": "uncertainty", "sampling_threshold": 0.0}, 0.0),
    ],
    ids=["the settings' confidence_threshold", "the strategy's", "the settings' own", "zero is a threshold"],
)
def test_how_weak_a_detection_may_be(settings, monkeypatch, make_record, changes, threshold):
    thresholds = []

    def score_images(cfg, weights, folder, images, **options):
        thresholds.append(cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
        return {name: make_record(name, [0.5]) for name in images}

    monkeypatch.setattr(acquire, "score_images", score_images)
    explain = lambda *where, **what: thresholds.append(what["cfg"].MODEL.ROI_HEADS.SCORE_THRESH_TEST)  # noqa: E731
    monkeypatch.setattr(acquire, "explain_images", explain)
    choose(settings, **changes)
    assert thresholds == [threshold] * 2


def test_what_is_held_back_is_counted(settings, scored, caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO):
        chosen = choose(settings, min_distance=0.01).certainty
    assert list(chosen) == ["00.png", "03.png", "04.png"]
    assert "held back" not in caplog.text
    with caplog.at_level(logging.INFO):
        chosen = choose(settings, min_distance=0.01, pool_size=9).certainty
    assert list(chosen) == ["00.png", "03.png", "04.png", "06.png"]
    assert "2 images held back as too like another (min_distance)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_distance": 99.0}, "too like one of the training set"),
        ({}, "sees nothing in the images that are left, so none can be chosen; train longer, or set "),
        ({}, "set images_without_detections to choose"),
    ],
    ids=["duplicates", "blind", "what to do"],
)
def test_no_image_can_be_chosen(settings, scored, monkeypatch, make_record, changes, reason):
    if not changes:
        monkeypatch.setattr(acquire, "score_images", lambda *_, **__: {name: make_record(name) for name in POOL})
    chosen = choose(settings, **changes)
    assert chosen.certainty == {}
    assert reason in chosen.why_none


def test_a_pool_of_damaged_images_is_as_good_as_empty(settings, scored, monkeypatch):
    monkeypatch.setattr(acquire, "score_images", lambda *_, **__: {})
    chosen = choose(settings)
    assert chosen.certainty == {}
    assert chosen.why_none == "none of the 8 images that are left can be read (the log says why)"


def test_an_image_that_takes_the_name_of_another_is_scored_anew(settings, tmp_path, monkeypatch):
    looked_at = []

    class Sampler:
        conditions: Mapping[str, object] = {}

        def __init__(self, *_, **__) -> None:
            pass

        def forward_passes(self, name: str, _: object) -> ForwardPasses:
            looked_at.append(name)
            return ForwardPasses(((),), np.zeros(2, np.float32), 30, 40)

    monkeypatch.setattr(mc_dropout, "MonteCarloDropout", Sampler)
    monkeypatch.setattr(prediction, "load_network", lambda *_: None)
    cfg, names = get_cfg(), ["00.png", "01.png", "02.png"]
    cfg.DATALOADER.NUM_WORKERS = 0
    what = {"passes": 1, "seed": 0, "iou_threshold": 0.5, "mode": "mean", "records_file": tmp_path / "records.jsonl"}
    score_images(cfg, Path("best.pth"), settings.traindir, names, **what)
    (settings.traindir / "00.png").touch()
    Image.new("RGB", (40, 30), "red").save(settings.traindir / "01.png")
    looked_at.clear()
    score_images(cfg, Path("best.pth"), settings.traindir, names, **what)
    assert looked_at == ["01.png"]
