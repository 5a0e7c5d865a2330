"""Which images a run starts from with `initial_choice: diverse`; features are given, no network is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from active_learning.acquisition import diverse_images as module
from active_learning.acquisition.diverse_images import diverse_images
from active_learning.errors import MaskALError
from active_learning.network import network_config
from active_learning.run.run import Run
from active_learning.sampling.pool_record import PoolRecord
from active_learning.settings import Settings

IMAGES = [f"{index:02d}.png" for index in range(14)]


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., PoolRecord]) -> list[dict]:
    """What was asked for. Images 00 to 06 are of one kind, 07 to 13 of another; 03 cannot be read."""
    asked: list[dict] = []

    def describe(cfg: object, weights: str, folder: Path, images: Sequence[str], **options: object):
        asked.append({"weights": weights, "images": list(images), **options})
        kinds = {name: int(name[:2]) for name in images if name != "03.png"}
        return {name: make_record(name, features=[100 * (one > 6), one % 7]) for name, one in kinds.items()}

    monkeypatch.setattr(module, "describe_images", describe)
    monkeypatch.setattr(network_config, "network_config", lambda *_: None)
    return asked


def run_of(settings: Settings, **changes: object) -> Run:
    settings = Settings(**{**settings.model_dump(), "initial_choice": "diverse", **changes})
    return Run(settings, settings.experiments()[0])


def test_of_each_kind_one(settings: Settings, described: list[dict], capsys: pytest.CaptureFixture[str]):
    assert sorted(diverse_images(run_of(settings), IMAGES, 2)) in (["02.png", "10.png"], ["04.png", "10.png"])
    (asked,) = described
    assert (asked["weights"], asked["images"]) == ("", IMAGES)
    assert asked["records_file"] == settings.resultsroot / "exp1" / "initial_records.jsonl"
    text = capsys.readouterr().out
    assert "starts from random weights" in text and "Looking once at each of 14 images" in text


def test_the_seed_decides_and_the_number_of_readable_images_bounds(settings: Settings, described: list[dict]):
    run = run_of(settings)
    chosen = diverse_images(run, IMAGES, 5)
    assert chosen == diverse_images(run, IMAGES, 5)
    assert len(set(chosen)) == 5
    assert sorted(diverse_images(run, IMAGES, 14)) == sorted(set(IMAGES) - {"03.png"})


def test_features_are_computed_again_when_weights_or_images_change(settings: Settings, described, tmp_path: Path):
    weights = tmp_path / "start.pth"
    weights.write_bytes(b"1")
    run = run_of(settings, pretrained_weights=str(weights))
    for change in (lambda: None, lambda: weights.write_bytes(b"22"), (settings.traindir / "05.png").unlink):
        change()
        diverse_images(run, IMAGES, 2)
    conditions = [asked["conditions"] for asked in described]
    assert conditions[0] != conditions[1] != conditions[2] != conditions[0]


def test_no_image_that_can_be_read(settings: Settings, described: list[dict]):
    with pytest.raises(MaskALError, match="none of the 1 images can be read"):
        diverse_images(run_of(settings), ["03.png"], 1)
