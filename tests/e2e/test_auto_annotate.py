"""auto_annotate.py as a user runs it; where its start has been tested, its main function in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import auto_annotate
from active_learning.annotations import FORMATS, read_annotation
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.dataset.image_folder import find_images, pair_annotations
from tests.contents import contents
from tests.processes import Program

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Folder:
    """Images without annotations, and a network of random weights that sees something in them."""

    images: Path
    network: Path
    weights: Path

    def arguments(self, *extra: str, **changes: str) -> list[str]:
        flags = {
            "img_dir": str(self.images),
            "network_config": str(self.network),
            "weights_file": str(self.weights),
            "conf_thres": "0.1",
            "cuda_visible_devices": "cpu",
            "num_workers": "1",
            **changes,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        return [*words, *(extra or ("--classes", "disc", "square"))]

    def run(self, *extra: str, **changes: str) -> tuple[int, str, str]:
        process = Program(
            str(ROOT / "auto_annotate.py"),
            *self.arguments(*extra, **changes),
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err


@pytest.fixture
def folder(tiny_project) -> Folder:
    import torch

    from active_learning.network.network_config import network_config
    from active_learning.network.weights_files import save_weights
    from active_learning.settings import load_settings
    from detectron2.modeling import build_model

    for path in tiny_project.train.rglob("*.json"):
        path.unlink()
    (tiny_project.train / "wide.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((60, 140, 3), np.uint8))[1].tobytes())
    pixels = np.random.default_rng(0).integers(0, 2**16, (50, 80), dtype=np.uint16)
    Image.fromarray(pixels).save(tiny_project.train / "Feld ä" / "grey.tif")
    settings = load_settings(tiny_project.config, ["network_config", str(tiny_project.file("network.yaml"))])
    torch.manual_seed(3)
    weights = tiny_project.file("weights", "w.pth")
    weights.parent.mkdir()
    save_weights(build_model(network_config(settings, settings.experiments()[0])), weights)
    return Folder(tiny_project.train, tiny_project.file("network.yaml"), weights)


@pytest.fixture
def run_here(folder: Folder, monkeypatch, capsys):
    """As Folder.run, in this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(*extra: str, **changes: str) -> tuple[int, str, str]:
        code = auto_annotate.main(folder.arguments(*extra, **changes))
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_is_pre_labelled_in_each_format(folder: Folder, run_here, tmp_path: Path, name: str):
    meta = tmp_path / "meta.json"
    write_meta(meta, ["square", "disc"])
    extra = {"supervisely_meta_json": str(meta)} if name == "supervisely" else {}
    before = contents(folder.images)
    run = folder.run if name == "labelme" else run_here
    code, output, errors = run(export_format=name, **extra)
    assert code == 0, errors
    assert "Pre-labelled: 14 images, " in output
    images = find_images(folder.images)
    assert len(images) == 14
    pairs = pair_annotations(folder.images, images)
    assert sorted(pairs) == images
    total = 0
    for image, path in pairs.items():
        found = read_annotation(path, image=image, size=None)
        with Image.open(folder.images / image) as picture:
            assert (found.width, found.height) == picture.size
        total += len(found.instances)
        assert {one.label for one in found.instances} <= {"disc", "square"}
    assert total > 0
    assert f"14 images, {total} objects" in output
    after = contents(folder.images)
    assert {key: after[key] for key in before} == before
    if name == "supervisely":
        project = folder.images.with_name("train_supervisely")
        assert (project / "meta.json").read_bytes() == meta.read_bytes()
        with Image.open(project / "ds__Feld ä" / "img" / "grey.tif.png") as picture:
            assert picture.size == (80, 50)
        assert (project / "ds__Feld ä" / "ann" / "grey.tif.png.json").is_file()


def test_what_is_annotated_is_left_and_a_corrupt_image_is_named(folder: Folder, run_here):
    mine = folder.images / "train00.json"
    mine.write_text(json.dumps({"shapes": [], "imagePath": "train00.png", "imageData": None}), encoding="utf-8")
    (folder.images / "train01.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    before = contents(folder.images)
    code, output, errors = folder.run(conf_thres="0.99")
    assert code == 1
    assert "train01.png: is no image or is damaged" in errors
    assert "12 images, 0 objects, 12 images without detections; 1 image skipped" in output
    assert "1 image unreadable" in output
    after = contents(folder.images)
    assert {key: after[key] for key in before} == before
    assert json.loads(after["train02.json"])["shapes"] == []

    code, output, _ = run_here()
    assert code == 1
    assert "0 images, 0 objects" in output
    assert contents(folder.images) == after


WRONG = [
    pytest.param({"conf_thres": "1.5"}, (), ["--conf_thres: 1.5 must be at most 1"], id="threshold"),
    pytest.param({"weights_file": "gone.pth"}, (), ["--weights_file: 'gone.pth' cannot be read"], id="weights"),
    pytest.param({"img_dir": "gone", "network_config": "x.yaml"}, (), ["--img_dir", "--network_config"], id="two"),
    pytest.param({"export_format": "supervisely"}, (), ["--supervisely_meta_json: is missing"], id="no meta"),
    pytest.param({}, ("--classes", "a", "a"), ["--classes: ", "more than once"], id="classes"),
]


@pytest.mark.parametrize(("changes", "extra", "messages"), WRONG)
def test_wrong_usage_changes_nothing(folder: Folder, changes: dict, extra: tuple, messages: list):
    before = contents(folder.images)
    code, _, errors = folder.run(*extra, **changes)
    assert code == 2, errors
    for text in messages:
        assert text in errors
    assert contents(folder.images) == before


def test_a_class_that_the_project_lacks_stops_it_before_anything_is_written(folder: Folder, tmp_path: Path):
    write_meta(tmp_path / "meta.json", ["disc"])
    before = contents(folder.images)
    code, _, errors = folder.run(export_format="supervisely", supervisely_meta_json=str(tmp_path / "meta.json"))
    assert code == 2
    assert "class 'square' is not in the project" in errors
    assert contents(folder.images) == before


def test_weights_of_other_classes_are_refused(run_here):
    code, _, errors = run_here("--classes", "a", "b", "c")
    assert code == 1
    assert "w.pth: does not fit the network" in errors


def test_weights_of_these_classes_in_another_order_are_refused(folder: Folder, run_here):
    import torch

    torch.save({**torch.load(folder.weights, weights_only=True), "classes": ["square", "disc"]}, folder.weights)
    before = contents(folder.images)
    code, _, errors = run_here()
    assert code == 2
    assert "was trained on the classes square, disc (in this order), not on disc, square; " in errors
    assert "; give --classes square disc" in errors
    assert contents(folder.images) == before
    assert run_here("--classes", "square", "disc")[0] == 0


def test_help_costs_no_torch_import():
    command = [sys.executable, "-X", "importtime", str(ROOT / "auto_annotate.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--weights_file" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "active_learning" in imported
    assert not imported & {"torch", "cv2", "matplotlib", "detectron2"}


def test_a_folder_of_all_kinds_is_pre_labelled_in_tiles(folder: Folder, run_here):
    """Images smaller than a tile, larger, thin, turned, of 16 bits, in strips; one is damaged, another no image."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 65, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(pixels[:40]).save(folder.images / "turned.jpg", exif=turned)
    Image.fromarray(pixels[:, :64]).save(folder.images / "a tile.webp")
    Image.fromarray(pixels).save(folder.images / "one more column.tif")
    Image.fromarray(pixels[:1]).save(folder.images / "thread.png")
    Image.fromarray(np.tile(pixels, (2, 2, 1))).save(folder.images / "cut.png")
    (folder.images / "cut.png").write_bytes((folder.images / "cut.png").read_bytes()[:9000])
    (folder.images / "empty.jpg").touch()
    code, output, errors = run_here(tile_size="64", tile_overlap="0.3", image_min_size="64", image_max_size="64")
    assert code == 1 and "Pre-labelled: 18 images, " in output and "2 images unreadable" in output
    for name in ("cut.png", "empty.jpg"):
        assert errors.count(name) == 1
        assert not (folder.images / name).with_suffix(".json").exists()
    sizes = {"turned.jpg": (65, 40), "a tile.webp": (64, 64), "one more column.tif": (64, 65), "thread.png": (1, 65)}
    sizes |= {"wide.jpg": (60, 140), "Feld ä/grey.tif": (50, 80), "train00.png": (96, 96)}
    for name, size in sizes.items():
        found = read_annotation((folder.images / name).with_suffix(".json"), image=name, size=None)
        assert (found.height, found.width) == size, name
