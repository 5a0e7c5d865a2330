from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch

from active_learning.errors import MaskALError
from active_learning.network.network_config import (
    network_config,
    pretrained_weights,
    training_config,
    training_iterations,
)
from active_learning.network.training import MaskALTrainer
from active_learning.system.log import logger


def trained_as(settings, *, image_count=10, class_images=None):
    return training_config(
        network_config(settings, settings.experiments()[0]),
        settings,
        image_count=image_count,
        class_images=class_images or {},
        train_dataset="a",
        val_dataset="b",
        weights="w.pth",
        output_dir=Path("out"),
    )


@pytest.fixture
def log(caplog, monkeypatch):
    """MaskAL's own log, which does not reach the root logger once a run has started it."""
    monkeypatch.setattr(logger, "propagate", True)
    return caplog


@pytest.mark.parametrize(
    ("images", "epochs", "batch", "iterations"),
    [(100, 40, 4, 1000), (101, 1, 2, 51), (3, 0.5, 1, 2), (1, 0.1, 8, 1), (50, 2.2, 1, 110)],
)
def test_epochs_take_the_place_of_iterations(make_settings, images, epochs, batch, iterations):
    settings = make_settings(train_epochs=epochs, train_batch_size=batch)
    assert training_iterations(images, settings) == iterations


@pytest.mark.parametrize(
    ("images", "iterations"),
    [(1, 2500), (500, 2500), (501, 5000), (1000, 5000), (1001, 7500), (0, 2500)],
)
def test_iterations_grow_with_the_images(make_settings, images, iterations):
    settings = make_settings(train_iterations_base=2500, train_iterations_step_size=2500, step_image_number=500)
    assert training_iterations(images, settings) == iterations


def test_settings_reach_the_network(make_settings):
    settings = make_settings(
        nms_threshold=0.4,
        confidence_threshold=0.6,
        dropout_probability=0.3,
        image_min_size=96,
        image_max_size=128,
        tile_size=512,
        tile_overlap=0.25,
        seed=7,
        precision="fp32",
    )
    cfg = network_config(settings, settings.experiments()[0])
    heads = cfg.MODEL.ROI_HEADS
    assert (heads.NUM_CLASSES, heads.NMS_THRESH_TEST, heads.SCORE_THRESH_TEST) == (3, 0.4, 0.6)
    assert heads.DROPOUT_PROBABILITY == 0.3
    assert (heads.NAME, cfg.MODEL.ROI_BOX_HEAD.NAME) == ("DropoutROIHeads", "DropoutBoxHead")
    assert cfg.MODEL.ROI_MASK_HEAD.NAME == "DropoutMaskHead"
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST) == ((96,), 96)
    assert (cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST) == (128, 128)
    assert (cfg.INPUT.TILE_SIZE, cfg.INPUT.TILE_OVERLAP) == (512, 0.25)
    assert (cfg.SEED, cfg.MODEL.DEVICE, cfg.SOLVER.AMP.ENABLED) == (7, "cpu", False)


def test_sizes_are_the_networks_own_by_default(make_cfg):
    cfg = make_cfg()
    assert (cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST) == ((64,), 1333)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("nowhere.yaml", "neither a file nor a config below configs/"),
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", "predicts no masks"),
    ],
    ids=["unknown", "no masks"],
)
def test_networks_that_cannot_be_used(make_settings, network, message):
    settings = make_settings(network_config=network)
    with pytest.raises(MaskALError, match=message):
        network_config(settings, settings.experiments()[0])


@pytest.mark.parametrize(
    ("network", "heads"),
    [
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "DropoutROIHeads"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x.yaml", "DropoutROIHeads"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml", "DropoutRes5ROIHeads"),
        ("Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml", "DropoutCascadeROIHeads"),
        ("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml", "DropoutROIHeads"),
    ],
    ids=["FPN", "DC5", "C4", "Cascade", "GroupNorm"],
)
def test_networks_with_dropout_heads(make_settings, network, heads):
    settings = make_settings(network_config=network)
    assert heads == network_config(settings, settings.experiments()[0]).MODEL.ROI_HEADS.NAME


def test_heads_without_a_form_with_dropout_are_named(make_settings, network_file, tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text(f"_BASE_: {network_file}\nMODEL: {{ROI_MASK_HEAD: {{NAME: PointHead}}}}", encoding="utf-8")
    settings = make_settings(network_config=str(path))
    with pytest.raises(MaskALError, match=r"MODEL\.ROI_MASK_HEAD\.NAME 'PointHead' has no form with dropout"):
        network_config(settings, settings.experiments()[0])


def test_broken_config_file_is_named(make_settings, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("MODEL: {MASKS_ON: True}", encoding="utf-8")
    settings = make_settings(network_config=str(path))
    with pytest.raises(MaskALError, match=r"broken\.yaml.*MASK_ON"):
        network_config(settings, settings.experiments()[0])


@pytest.mark.parametrize(
    ("precision", "capabilities", "mixed"),
    [
        pytest.param("auto", {"avx512_bf16": True}, True, id="auto on a CPU with bfloat16"),
        pytest.param("auto", {"avx512_bf16": False, "avx2": True}, False, id="auto on one without"),
        pytest.param("amp", {}, True, id="amp"),
        pytest.param("fp32", {"amx_bf16": True}, False, id="fp32"),
    ],
)
def test_precision_on_the_cpu(make_cfg, monkeypatch, precision, capabilities, mixed):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cfg = make_cfg(precision=precision, cuda_visible_devices="cpu")
    assert cfg.SOLVER.AMP.ENABLED is mixed


def test_a_pytorch_that_cannot_tell_trains_in_float32(make_cfg, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not make_cfg(precision="auto", cuda_visible_devices="cpu").SOLVER.AMP.ENABLED


@pytest.mark.gpu
def test_precision_on_cuda(make_cfg):
    assert make_cfg(cuda_visible_devices="0").MODEL.DEVICE == "cuda"
    assert make_cfg(cuda_visible_devices="0").SOLVER.AMP.ENABLED
    assert not make_cfg(cuda_visible_devices="0", precision="fp32").SOLVER.AMP.ENABLED


def test_missing_gpu_is_reported_once(make_cfg, log, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reason = "The NVIDIA driver on your system is too old (found version 11040)."
    monkeypatch.setattr("active_learning.network.network_config.why_no_gpu", lambda: reason)
    assert make_cfg(cuda_visible_devices="98,99").MODEL.DEVICE == "cpu"
    assert make_cfg(cuda_visible_devices="98,99").MODEL.DEVICE == "cpu"
    assert log.text.count(f"running on the CPU, which is slow. PyTorch says: {reason}") == 1


def test_several_gpus_are_a_device_each(make_cfg, log, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert make_cfg(cuda_visible_devices="6,7").MODEL.DEVICE == "cuda"
    assert not log.text


def test_training_takes_the_settings(make_settings):
    settings = make_settings(
        train_iterations_base=1001,
        warmup_iterations=100,
        step_ratios=[0.5, 0.8],
        weight_decay=0.01,
        num_workers=3,
        checkpoint_period=50,
    )
    cfg = trained_as(settings)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS) == (1001, (500, 800), 100)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.CHECKPOINT_PERIOD) == (2, 0.01, 50)
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.TEST.EVAL_PERIOD) == (("a",), ("b",), 2)
    assert (cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, cfg.DATALOADER.NUM_WORKERS) == ("w.pth", "out", 3)
    assert not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS


@pytest.mark.parametrize(
    ("warmup", "iterations", "cut"),
    [(500, 2500, 500), (500, 1000, 500), (500, 300, 150), (1, 1, 0), (0, 10, 0)],
    ids=["fits", "just fits", "longer than the training", "one iteration", "none"],
)
def test_warm_up_fits_the_training(make_settings, log, warmup, iterations, cut):
    cfg = trained_as(make_settings(warmup_iterations=warmup, train_iterations_base=iterations))
    assert cut == cfg.SOLVER.WARMUP_ITERS
    assert ("is too long" in log.text) == (cut < warmup)


# Learning rates relative to learning_rate, with gamma 0.1 and steps at 0.5 and 0.8 of 100 iterations.
POLICIES = {
    "steps_with_decay": {0: 1.0, 49: 1.0, 50: 0.1, 79: 0.1, 80: 0.01, 99: 0.01},
    "steps_with_lrs": {0: 1.0, 49: 1.0, 50: 0.1, 80: 0.01},
    "step": {0: 1.0, 32: 1.0, 34: 0.1, 65: 0.1, 67: 0.01, 99: 0.01},
    "cosine_decay": {0: 1.0, 25: 0.8536, 50: 0.5, 75: 0.1464},
    "exp_decay": {0: 1.0, 25: 0.3162, 50: 0.1, 75: 0.0316},
}


@pytest.mark.parametrize("policy", POLICIES)
def test_learning_policy_takes_effect(make_settings, policy):
    settings = make_settings(
        learning_policy=policy, train_iterations_base=100, warmup_iterations=0, learning_rate=0.02, gamma=0.1
    )
    cfg = trained_as(settings)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = MaskALTrainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"] / 0.02)
        optimizer.step()
        scheduler.step()
    assert {at: rates[at] for at in POLICIES[policy]} == pytest.approx(POLICIES[policy], abs=1e-3)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_warms_up(make_settings, policy):
    settings = make_settings(
        learning_policy=policy, train_iterations_base=100, warmup_iterations=20, learning_rate=0.02
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    MaskALTrainer.build_lr_scheduler(trained_as(settings), optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.001)


@pytest.mark.parametrize(
    ("factor", "minority", "threshold"),
    [
        (2.0, ["disc"], 4 * 10 / 100),
        (2.0, ["square", "disc"], 4 * 10 / 100),
        (1.0, ["square"], 40 / 100),
        (5.0, ["disc"], 1.0),
        (2.0, ["never", "disc"], 4 * 10 / 100),
        (2.0, ["never"], 0.0),
    ],
    ids=["one class", "the smallest counts", "factor 1", "clipped", "an absent class is passed over", "only absent"],
)
def test_repeat_threshold(make_settings, log, factor, minority, threshold):
    settings = make_settings(
        train_sampler="RepeatFactorTrainingSampler", minority_classes=minority, repeat_factor_smallest_class=factor
    )
    cfg = trained_as(settings, image_count=100, class_images={"square": 40, "disc": 10, "never": 0})
    assert cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler"
    assert pytest.approx(threshold) == cfg.DATALOADER.REPEAT_THRESHOLD
    assert ("No training image holds never: there is nothing of it to repeat" in log.text) == ("never" in minority)


def test_a_minority_class_is_the_same_in_either_form_of_its_accents(make_settings):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    keys = {"classes": ["a", composed], "minority_classes": [decomposed], "repeat_factor_smallest_class": 2.0}
    settings = make_settings(train_sampler="RepeatFactorTrainingSampler", **keys)
    cfg = trained_as(settings, image_count=100, class_images={"a": 40, composed: 10})
    assert pytest.approx(0.4) == cfg.DATALOADER.REPEAT_THRESHOLD


def test_tiny_trainings_have_sound_steps(make_settings):
    assert trained_as(make_settings(train_iterations_base=1)).SOLVER.STEPS == ()
    assert trained_as(make_settings(train_iterations_base=3, step_ratios=[0.4, 0.5])).SOLVER.STEPS == (1,)


def test_pretrained_weights(make_settings, tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"")
    zoo = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    address = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert pretrained_weights(make_settings(pretrained_weights="")) == ""
    assert pretrained_weights(make_settings(pretrained_weights=address)) == address
    assert pretrained_weights(make_settings(pretrained_weights=str(file))) == str(file)
    assert pretrained_weights(make_settings(pretrained_weights=zoo)).endswith("model_final_f10217.pkl")
    for name, message in (("gone.pth", "there is no file"), ("gone.yaml", "no published weights")):
        with pytest.raises(MaskALError, match=message):
            pretrained_weights(make_settings(pretrained_weights=name))
