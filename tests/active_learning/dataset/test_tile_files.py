"""The tiles that a network trains on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import Annotation, Instance, Part, labelme
from active_learning.annotations.contours import instance_mask
from active_learning.dataset import tile_files
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.coco import DatasetSummary
from active_learning.dataset.image_folder import take_snapshot
from active_learning.dataset.tile_files import TilePlan, remove_tiles, write_tiles
from active_learning.errors import MaskALError
from active_learning.system import disk_space
from active_learning.system.exit_code import exit_code_of
from active_learning.system.files import DRAFT
from detectron2.data.datasets import load_coco_json
from detectron2.data.detection_utils import annotations_to_instances, transform_instance_annotations
from detectron2.structures.masks import polygons_to_bitmask

HEIGHT, WIDTH = 150, 200
PLAN = TilePlan(size=100, overlap=0.2, fill=(1, 2, 3), seed=0, most_pixels=10**6)
SQUARE = (10, 10, 40, 40)
CUT = (95, 10, 130, 40)  # 5 of its 35 columns lie in the tile at 0, 0


def add(train: Path, name: str, *boxes: tuple[int, int, int, int], seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(train / name)
    annotate(train, name, *boxes)


def annotate(train: Path, name: str, *boxes: tuple[int, int, int, int]) -> None:
    outlines = (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64) for x0, y0, x1, y1 in boxes)
    instances = tuple(Instance("a", (Part(outline),)) for outline in outlines)
    labelme.write(Annotation(name, HEIGHT, WIDTH, instances), (train / name).with_suffix(".json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tiles"


@pytest.fixture
def cut(train: Path, folder: Path):
    def write(images: Sequence[str] = ("a.png",), plan: TilePlan = PLAN) -> DatasetSummary:
        return write_tiles(AnnotationCache(train, ["a", "b"]), images, take_snapshot(train), folder, plan)

    return write


def tiles(folder: Path) -> dict[str, int]:
    """The names of the tile files and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def pixels_of(folder: Path, name: str) -> np.ndarray:
    (path,) = folder.rglob(name)
    return np.asarray(Image.open(path))


def test_tiles_with_objects_and_some_without(train, folder, cut):
    add(train, "a.png", SQUARE, CUT)
    summary = cut()
    assert (summary.images, summary.negatives, summary.objects) == (4, 1, {"a": 3, "b": 0})
    document = json.loads((folder / "tiles.json").read_text(encoding="utf-8"))
    assert {(one["height"], one["width"]) for one in document["images"]} == {(100, 100)}
    assert len(tiles(folder)) == 4 and {"a_0_0.png", "a_0_50.png", "a_0_100.png"} < set(tiles(folder))
    assert sorted(one["bbox"] for one in document["annotations"]) == [
        [0, 10, 30, 30],
        [10, 10, 30, 30],
        [45, 10, 35, 30],
    ]


def test_pixels_are_those_of_the_image_and_slivers_are_hidden(train, folder, cut):
    add(train, "a.png", SQUARE, CUT)
    cut()
    image = np.asarray(Image.open(train / "a.png"))
    expected = image[:100, :100].copy()
    expected[10:40, 95:] = (3, 2, 1)
    assert np.array_equal(pixels_of(folder, "a_0_0.png"), expected)
    assert np.array_equal(pixels_of(folder, "a_0_50.png"), image[:100, 50:150])


def test_small_images_are_padded(train, folder, cut):
    add(train, "a.png", SQUARE)
    cut(plan=replace(PLAN, size=256))
    pixels = pixels_of(folder, "a_0_0.png")
    assert np.array_equal(pixels[:HEIGHT, :WIDTH], np.asarray(Image.open(train / "a.png")))
    assert (pixels[HEIGHT:] == (3, 2, 1)).all() and (pixels[:, WIDTH:] == (3, 2, 1)).all()


def test_what_is_there_is_kept(train, folder, cut, monkeypatch):
    add(train, "a.png", SQUARE)
    add(train, "b.png", SQUARE, seed=1)
    first = cut(["a.png"])
    before = tiles(folder)
    monkeypatch.setattr(tile_files.ImageTiles, "__enter__", lambda image: pytest.fail("an image was read again"))
    assert cut(["a.png"]) == first
    monkeypatch.undo()
    cut(["a.png", "b.png"])
    assert {name: time for name, time in tiles(folder).items() if name in before} == before
    assert len(tiles(folder)) == 2 * len(before)


@pytest.mark.parametrize("change", ["annotation", "image", "size", "seed", "image left out"])
def test_what_has_changed_is_cut_anew(train, folder, cut, change):
    add(train, "a.png", SQUARE)
    add(train, "b.png", SQUARE, seed=1)
    cut(["a.png", "b.png"])
    (folder / "a person's").mkdir()
    before = {path.parent.name for path in folder.rglob("a_*.png")}
    images, plan = ["a.png", "b.png"], PLAN
    if change == "annotation":
        annotate(train, "a.png", SQUARE, CUT)
    elif change == "image":
        add(train, "a.png", SQUARE, seed=2)
    elif change == "image left out":
        images = ["b.png"]
    else:
        plan = replace(PLAN, **{change: {"size": 120, "seed": 1}[change]})
    cut(images, plan)
    after = {path.parent.name for path in folder.rglob("a_*.png")}
    assert before.isdisjoint(after) and len(after) == (change != "image left out")
    assert (folder / "a person's").is_dir()


@pytest.mark.parametrize("damage", ["gone", "cut off", "empty", "draft", "inside"])
def test_what_a_kill_or_a_power_cut_left_is_made_whole(train, folder, cut, damage):
    add(train, "a.png", SQUARE)
    cut()
    path = next(folder.rglob("a_0_0.png"))
    whole = path.read_bytes()
    if damage in ("gone", "draft"):
        path.unlink()
        path.with_name(f"{path.name}.maskal-draft").write_bytes(whole[:100] if damage == "draft" else b"")
    elif damage == "inside":
        path.write_bytes(whole[:5000] + bytes(600) + whole[5600:])
    else:
        path.write_bytes(whole[:-100] if damage == "cut off" else b"")
    cut()
    assert path.read_bytes() == whole
    assert not list(folder.rglob("*.maskal-draft"))


def test_an_image_without_objects_gives_one_tile(train, folder, cut):
    add(train, "a.png")
    assert (cut().images, len(tiles(folder))) == (1, 1)


def test_all_is_removed_but_what_is_a_persons(train, folder, cut):
    add(train, "a.png", SQUARE)
    cut()
    remove_tiles(folder)
    assert not folder.exists()
    remove_tiles(folder)
    cut()
    (folder / "notes.txt").touch()
    remove_tiles(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("fault", ["image", "annotation", "disk"])
def test_faults_are_named(train, folder, cut, fault, monkeypatch):
    add(train, "a.png", SQUARE)
    if fault == "image":
        content = (train / "a.png").read_bytes()
        (train / "a.png").write_bytes(content[: len(content) // 2])
        message = "a.png: .*truncated"
    elif fault == "annotation":
        (train / "a.json").unlink()
        message = "a.png: there is no annotation beside it"
    else:
        usage = type(shutil.disk_usage(train))
        monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda place: usage(10**9, 10**9, 50_000))
        message = r"60.0 KB are needed for the tiles of the training images, its disk has 50.0 KB left"
    with pytest.raises(MaskALError, match=message):
        cut()
    assert not (folder / "tiles.json").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_takes_no_tile_is_named_and_the_next_start_goes_on(train, folder, cut, monkeypatch, capsys, number):
    add(train, "a.png", SQUARE)
    whole, second = Path.write_bytes, 2

    def write(path: Path, content: bytes) -> int:
        nonlocal second
        second -= 1
        if not second:
            whole(path, content[:50])
            raise OSError(number, os.strerror(number))
        return whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        assert exit_code_of(cut) == 1
    (first,) = tiles(folder)
    message = capsys.readouterr().err
    assert f"{os.strerror(number)}; {disk_space.REMEDIES[number]}" in message
    assert message.startswith(f"\n{folder}/") and ".png: " in message and DRAFT not in message
    assert not list(folder.rglob(f"*{DRAFT}"))
    before = tiles(folder)[first]
    assert cut().images == len(tiles(folder)) == 2
    assert tiles(folder)[first] == before


@pytest.mark.parametrize("place", ["tiles", "key", "tile", "tile with content", "tiles.json", "tiles.json, full"])
def test_what_stands_in_the_way_is_named_and_stays(train, folder, cut, capsys, place):
    add(train, "a.png", SQUARE)
    first = cut()
    tile = next(folder.rglob("a_0_0.png"))
    others = {"tiles": folder, "key": tile.parent, "tiles.json": folder / "tiles.json"}
    target = others.get(place.removesuffix(", full"), tile)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    if place in ("tiles", "key"):
        target.write_text("a person's")
    elif place == "tiles.json, full":
        target = target.with_name(f"tiles.json{DRAFT}")
        target.symlink_to("/dev/full")
    else:
        target.mkdir()
        if "content" in place:
            (target / "notes.txt").touch()
    assert exit_code_of(cut) == 1
    message = capsys.readouterr().err
    assert f"\n{str(target).removesuffix(DRAFT)}: " in message and "Nothing is lost" in message
    if "full" not in place:
        assert "rename" in message
        target.rename(folder.with_name("renamed"))
    assert cut() == first
    assert not list(folder.rglob(f"*{DRAFT}"))


@pytest.mark.parametrize("left", ["a file as the folder", "a link as the folder"])
def test_what_is_no_tile_is_no_reason_to_end_when_they_are_removed(train, folder, cut, left):
    add(train, "a.png", SQUARE)
    cut()
    if left == "a file as the folder":
        shutil.rmtree(folder)
        folder.write_text("a person's")
    else:
        folder.rename(folder.with_name("other disk"))
        folder.symlink_to(folder.with_name("other disk"))
    remove_tiles(folder)
    assert not any(path.suffix == ".png" for path in folder.rglob("*"))
    assert folder.exists()


def ring(x0: int, y0: int, x1: int, y1: int) -> Instance:
    outer, inner = rectangle(x0, y0, x1, y1), rectangle(x0 + 5, y0 + 5, x1 - 5, y1 - 5)
    return Instance("a", (Part(outer, (inner,)),))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def parts(*boxes: tuple[float, float, float, float]) -> Instance:
    return Instance("a", tuple(Part(rectangle(*box)) for box in boxes))


ODD = {
    "hole in two tiles": (ring(30, 30, 130, 90),),
    "hole and polygon": (ring(5, 5, 60, 60), parts((70, 5, 90, 30))),
    "parts in several tiles": (parts((5, 5, 25, 25), (120, 100, 180, 140)),),
    "crowd": tuple(parts((7 * x, 7 * y, 7 * x + 6, 7 * y + 6)) for x in range(28) for y in range(18)),
    "on the borders": (parts((0, 0, 50, 100)), parts((50, 0, 100, 50)), parts((100, 50, 200, 100))),
    "one pixel wide": (parts((99, 10, 100, 140)), parts((10, 99, 190, 100)), parts((0, 0, 1, 1))),
    "on the image's side": (parts((199, 0, 200, 150)), parts((0, 149, 200, 150))),
    "whole image": (parts((0, 0, 200, 150)),),
    "over each other": (parts((0, 0, 200, 150)), ring(20, 20, 120, 120), parts((40, 40, 60, 60))),
    "half pixels": (parts((98.7, 10, 101.3, 60)), parts((10.2, 49.2, 50.7, 50.8))),
}
SIZES = {"": (150, 200), "a tile": (100, 100), "one pixel more": (101, 101), "one pixel high": (1, 200)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("objects", ODD.values(), ids=ODD)
def test_the_engine_reads_what_is_visible_of_odd_objects(train, folder, cut, monkeypatch, objects, size):
    height, width = size
    monkeypatch.setattr("tests.active_learning.dataset.test_tile_files.HEIGHT", height)
    monkeypatch.setattr("tests.active_learning.dataset.test_tile_files.WIDTH", width)
    add(train, "a.png")
    labelme.write(Annotation("a.png", height, width, objects), train / "a.json")
    summary = cut()
    records = load_coco_json(folder / "tiles.json", folder, "tiles of odd objects")
    whole = [instance_mask(one, height, width) for one in objects]
    for record in records:
        y, x = map(int, Path(record["file_name"]).stem.split("_")[1:])
        annotations = [transform_instance_annotations(one, [], (100, 100)) for one in record["annotations"]]
        instances = annotations_to_instances(annotations, (100, 100), "bitmask" if summary.bitmaps else "polygon")
        seen = np.zeros((100, 100), dtype=bool)
        for mask in instances.gt_masks if annotations else ():
            pixels = mask.numpy() if summary.bitmaps else polygons_to_bitmask(mask, 100, 100)
            assert pixels.any()
            seen |= pixels
        expected = np.any(whole, axis=0)[y : y + 100, x : x + 100]
        hidden = (pixels_of(folder, Path(record["file_name"]).name) == (3, 2, 1)).all(axis=-1)
        beside = seen[: expected.shape[0], : expected.shape[1]] != expected
        assert not seen[expected.shape[0] :].any() and not seen[:, expected.shape[1] :].any()
        assert np.count_nonzero(beside & ~hidden[: expected.shape[0], : expected.shape[1]]) <= 0.02 * beside.size
    assert sum(len(record["annotations"]) for record in records) == sum(summary.objects.values())
