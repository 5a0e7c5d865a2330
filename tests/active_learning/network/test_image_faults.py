"""Kind 8: whatever an image does to a training or an evaluation, the report names the image."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.acquisition.explain import explain
from active_learning.acquisition.explanation import read_explanations, write_explanations
from active_learning.errors import MaskALError
from active_learning.network import image_faults
from active_learning.network.image_faults import evaluation_loader, train_loader
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.network_config import training_config
from active_learning.network.pre_labelling import PreLabeller
from active_learning.network.prediction import picture_of, read_input
from active_learning.network.training import register_dataset, train
from active_learning.network.training_failures import failures_explained
from active_learning.sampling.certainty import certainty_of
from active_learning.sampling.pool_record import record_of
from detectron2.modeling import build_model
from tests.active_learning.network.conftest import CLASSES

THIN = {"row.png": (1, 900), "column.png": (900, 1), "thread.png": (2, 700), "pixel.png": (1, 1)}


def register(folder: Path, images: dict[str, tuple[int, int]]) -> str:
    """A data set of black images of (height, width), all of each one object."""
    entries, annotations = [], []
    for number, (name, (height, width)) in enumerate(images.items(), start=1):
        cv2.imwrite(str(folder / name), np.zeros((height, width, 3), np.uint8))
        entries.append({"id": number, "file_name": name, "height": height, "width": width})
        outline = [0, 0, width, 0, width, height, 0, height]
        box = {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0, "segmentation": [outline]}
        annotations.append({"id": number, "image_id": number, "category_id": 1, **box})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "faults.json").write_text(json.dumps(document), encoding="utf-8")
    register_dataset("faults", folder / "faults.json", folder, CLASSES)
    return "faults"


@pytest.fixture
def make_training(make_cfg, make_settings, tmp_path):
    """(config, arguments of train) on a data set."""

    def make(dataset: str, **keys):
        cfg = training_config(
            make_cfg(**keys),
            make_settings(**keys),
            image_count=4,
            class_images={},
            train_dataset=dataset,
            val_dataset=dataset,
            weights="",
            output_dir=tmp_path / "out",
        )
        return cfg, {"best_model": tmp_path / "best.pth", "best_ap": 0.0, "final_model": tmp_path / "final.pth"}

    return make


def test_images_of_any_aspect_are_trained_on_and_evaluated(make_training, tmp_path):
    cfg, arguments = make_training(register(tmp_path, THIN), train_batch_size=1, train_iterations_base=8)
    train(cfg, **arguments)
    assert (tmp_path / "final.pth").exists()


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def resize(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((7, 9, 3), np.uint8))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(damage, "cannot be read as an image.*; replace the image, or annotate it again", id="damaged"),
        pytest.param(resize, "height x width 7x9", id="another size"),
        pytest.param(Path.unlink, "is not there any more", id="gone"),
        pytest.param(lambda path: path.write_text(""), "cannot be read as an image", id="empty"),
    ],
)
def test_a_fault_of_an_image_names_it(make_training, tmp_path, spoil, words, workers):
    dataset = register(tmp_path, {"bad.png": (64, 64)})
    spoil(tmp_path / "bad.png")
    cfg, arguments = make_training(dataset, num_workers=workers, train_batch_size=1)
    with pytest.raises(MaskALError, match=rf"^{tmp_path}/bad\.png: .*{words}") as caught:
        train(cfg, **arguments)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(MaskALError, match=r"bad\.png"):
        list(evaluation_loader(cfg, dataset, ""))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        cv2.error("wrong"),
        struct.error("short"),
        RecursionError("deep"),
        KeyError("key"),
        OSError(24, "Too many open files"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("workers", [0, 1])
def test_any_exception_of_a_mapper_names_the_image(make_training, tmp_path, monkeypatch, error, workers):
    class Failing:
        def __init__(self, *_, **__):
            pass

        def __call__(self, record):
            raise error

    monkeypatch.setattr(image_faults, "DatasetMapper", Failing)
    cfg, _ = make_training(register(tmp_path, {"bad.png": (64, 64)}), num_workers=workers)
    with pytest.raises(MaskALError, match=r"bad\.png: ") as caught:
        next(iter(train_loader(cfg)))
    assert "Caught" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("height and width must be > 0"), r"training failed at bad\.png: ValueError: height.*log file"),
        (MemoryError(), r"memory was too small in training at bad\.png\. .*train_batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), r"too small in training at bad\.png"),
        (FloatingPointError("the loss became infinite"), r"infinite at bad\.png\. .*learning_rate"),
        (RuntimeError("Too many open files. Communication"), r"Too many files were open in training.*ulimit -n"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal"), r"ended from outside.*lower num_workers"),
    ],
)
def test_a_failure_of_the_network_names_the_images_at_hand(make_training, tmp_path, error, words):
    cfg, _ = make_training(register(tmp_path, {"bad.png": (64, 64)}))
    loader = evaluation_loader(cfg, "faults", "")
    next(iter(loader))
    with pytest.raises(MaskALError, match=words), failures_explained(cfg, loader, training=True):
        raise error


def test_images_of_any_aspect_are_scored_explained_and_pre_labelled(make_cfg, make_settings, tmp_path):
    register(tmp_path, THIN)
    cfg = make_cfg(confidence_threshold=0.0)
    model = build_model(cfg).eval()
    sampler = MonteCarloDropout(model, cfg, passes=3, seed=0)
    explained = []
    for name, size in THIN.items():
        model_input = read_input(tmp_path / name, cfg)
        passes = sampler.forward_passes(name, model_input)
        record_of(name, passes, certainty_of(passes.passes, iou_threshold=0.5, mode="mean"))
        explanation, spread = explain(name, passes, CLASSES, iou_threshold=0.5, mode="mean")
        assert spread.shape[:2] == size
        explained.append((explanation, picture_of(model_input, cfg), spread))
    write_explanations(tmp_path / "why", explained)
    assert [one.image for one in read_explanations(tmp_path / "why")] == list(THIN)
    predicted = list(PreLabeller(model, cfg, CLASSES)(tmp_path, list(THIN)))
    assert {(one.image, one.height, one.width) for one in predicted} == {(n, *size) for n, size in THIN.items()}
