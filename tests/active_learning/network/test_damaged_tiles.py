"""A damaged image is reported alike with tiles and without: its file once, the reason, the remedy."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from active_learning.acquisition.pool_scoring import score_pool
from active_learning.errors import MaskALError
from active_learning.network.evaluation import evaluate
from active_learning.network.image_batches import UnreadableImage, read_images
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.pre_labelling import PreLabeller
from active_learning.network.training import register_dataset
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.pool_record import record_of
from active_learning.tiles import reading
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tests.active_learning.network.conftest import CLASSES, SIZE
from tests.active_learning.tiff_files import write_tiff_with_part

HEIGHT, WIDTH = 100, 150
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def cut(path: Path, **options: Any) -> None:
    Image.fromarray(PIXELS).save(path, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_part(path: Path, change: Callable[[int], int], tag: str, **options: Any) -> None:
    """A TIFF of which the offset, or the length, of the fourth part is another."""
    write_tiff_with_part(path, PIXELS, tag, 3, change, **options)


STRIPS: dict[str, Any] = {"rowsperstrip": 8}
TILES: dict[str, Any] = {"tile": (32, 32)}
DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut.jpg": cut,
    "cut.png": cut,
    "cut.webp": cut,
    "cut.tif": lambda path: cut(path, format="TIFF", tiffinfo={278: 8}),
    "empty.png": lambda path: path.write_bytes(b""),
    "text.jpg": lambda path: path.write_text("no image"),
    "folder.png": lambda path: path.mkdir(),
    "gone.png": lambda path: None,
    "strip beyond the end.tif": lambda path: with_part(path, lambda _: 10**6, "StripOffsets", **STRIPS),
    "tile beyond the end.tif": lambda path: with_part(
        path, lambda _: 10**6, "TileOffsets", compression="zlib", **TILES
    ),
    "strip too short.tif": lambda path: with_part(
        path, lambda length: length // 2, "StripByteCounts", compression="zlib", **STRIPS
    ),
    "strip too long.tif": lambda path: with_part(
        path, lambda _: 60_000, "StripByteCounts", compression="zlib", **STRIPS
    ),
}  # fmt: skip


@pytest.fixture(params=[None, SIZE], ids=["", "tiles"])
def cfg(request: pytest.FixtureRequest, make_cfg: Callable[..., CfgNode]) -> CfgNode:
    return make_cfg(tile_size=request.param, tile_overlap=0.2, num_workers=0)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    for name, spoil in DAMAGED.items():
        spoil(tmp_path / name)
    Image.fromarray(PIXELS).save(tmp_path / "whole.png")
    return [*DAMAGED, "whole.png"]


def test_in_the_pool(cfg: CfgNode, images: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sampler = MonteCarloDropout(build_model(cfg), cfg, passes=1, seed=0)

    def score(image: Any) -> Any:
        found = sampler.forward_passes(image.name, image.content)
        return record_of(image.name, found, certainty_of(found.passes, iou_threshold=0.5, mode="mean"))

    with caplog.at_level(logging.WARNING):
        records = score_pool(
            images, lambda names: read_images(tmp_path, names, cfg), score,
            records_file=tmp_path / "pool.jsonl", conditions={},
        )  # fmt: skip
    *named, count = [text for text in caplog.messages if "left out" in text]
    assert list(records) == ["whole.png"]
    assert f"{len(DAMAGED)} of {len(images)} pool images" in count
    for name, text in zip(DAMAGED, named, strict=True):
        assert text.startswith(f"{tmp_path / name}: ") and text.count(name) == 1, text
        assert text.endswith("; until then it is left out")


def test_in_pre_labelling(cfg: CfgNode, images: list[str], tmp_path: Path):
    found = list(PreLabeller(build_model(cfg), cfg, CLASSES)(tmp_path, images))
    faults = {one.name: one.fault for one in found if isinstance(one, UnreadableImage)}
    assert faults.keys() == DAMAGED.keys() and len(found) == len(images)
    assert all(text.startswith(f"{tmp_path / name}: ") and text.count(name) == 1 for name, text in faults.items())


@pytest.mark.parametrize("name", [*DAMAGED, "another size.png"])
def test_in_an_evaluation(cfg: CfgNode, tmp_path: Path, name: str):
    if name in DAMAGED:
        DAMAGED[name](tmp_path / name)
    else:
        Image.fromarray(PIXELS[:-1]).save(tmp_path / name)
    outline = [[10, 10, 40, 10, 40, 40, 10, 40]]
    box = {"bbox": [10, 10, 30, 30], "area": 900, "iscrowd": 0, "segmentation": outline}
    document = {
        "images": [{"id": 1, "file_name": name, "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **box}],
        "categories": [{"id": index + 1, "name": label} for index, label in enumerate(CLASSES)],
    }
    (tmp_path / "damaged.json").write_text(json.dumps(document), encoding="utf-8")
    register_dataset("damaged", tmp_path / "damaged.json", tmp_path, CLASSES)
    with pytest.raises(MaskALError) as caught:
        evaluate(build_model(cfg), cfg, "damaged", [0.5])
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / name}: ") and text.count(name) == 1, text
    assert text.count("replace") + text.count("put it back") + text.count("annotate it again") in (1, 2), text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("decoder"), RecursionError("deep")])
def test_any_exception_of_a_decoder_names_the_image(cfg: CfgNode, images: list[str], tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reading, "read_pixels", fail)
    monkeypatch.setattr("detectron2.data.detection_utils.read_image", fail)
    (found,) = PreLabeller(build_model(cfg), cfg, CLASSES)(tmp_path, ["whole.png"])
    assert isinstance(found, UnreadableImage)
    assert found.fault.startswith(f"{tmp_path / 'whole.png'}: ") and found.fault.count("whole.png") == 1
