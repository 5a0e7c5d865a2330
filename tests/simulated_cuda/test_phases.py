"""Each phase of the program on a simulated GPU: no mistake with devices, and no more synchronisations than are allowed.

A synchronisation has the processor wait until the GPU has done all that was started; the GPU then waits for the next
operation. Whoever removes some lowers the number here; a change that adds one has to remove another.
"""

from __future__ import annotations

import shutil
import warnings

import cv2
import pytest
import torch

import auto_annotate
import maskAL
from active_learning.acquisition.acquire import score_images
from active_learning.annotations.coco import CocoImage
from active_learning.label_check.passes import AnnotatedImages, compare_images
from active_learning.network.evaluation import evaluate
from active_learning.network.image_faults import train_loader
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.pre_labelling import PreLabeller
from active_learning.network.prediction import detect, read_input
from active_learning.network.training import MaskALTrainer, train
from active_learning.network.training_hooks import KeepBest
from active_learning.network.weights_files import save_weights
from active_learning.utils import tsne, uncertainty_forward_passes
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from tests.simulated_cuda.networks import CLASSES, lively

# The loss scale begins too high for a first step, which is passed over.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
IMAGES = [f"{number}.png" for number in range(6)]

# What is allowed today: (synchronisations, operations) of a training step, and the synchronisations of all else.
TRAINING_STEP = {"FPN": (4, 1098), "C4": (4, 807), "DC5": (4, 868), "Cascade": (6, 1610)}
TRAINING = 1796  # 3 steps, 2 evaluations of 7 images, 2 checkpoints
INFERENCE = 3  # an image
SAMPLING = {("FPN", 4): 7, ("FPN", 10): 7, ("C4", 4): 7, ("DC5", 4): 7, ("Cascade", 4): 7}  # an image: (kind, T)
POOL = 663  # 6 images, T = 2, and loading the network
LABEL_CHECK = 663  # 6 images, T = 2, and loading the network
EVALUATION = {"FPN": 5, "Cascade": 5}  # an image, two thresholds
PRE_LABELS = 4  # an image
AUTO_ANNOTATE = 789  # 3 images, and loading the network
WHOLE_LOOP = 8820  # 2 trainings of 2 steps, a pool of 11 images, 3 label checks, each of which loads a network
STUDY_TOOLS = {"tsne": 909, "uncertainty_forward_passes": 807}  # 14 and 4 images, and loading the network


def check(ledger, allowed, units=1):
    """`allowed` synchronisations a unit; with a second number, that of operations."""
    limits = allowed if isinstance(allowed, tuple) else (allowed,)
    if torch.__version__ < (2, 6):  # its optimizer waits once more in a step, and starts more operations
        limits = tuple(limit + limit // 10 + 1 for limit in limits)
    found = (-(-ledger.synchronisations // units), ledger.operations)[: len(limits)]
    text = f"{found} synchronisations (and operations) instead of {limits}"
    assert all(number <= limit for number, limit in zip(found, limits, strict=True)), f"{text}\n{ledger.report()}"
    if found != limits:
        warnings.warn(f"{text}: lower the numbers at the top", stacklevel=2)


@pytest.mark.parametrize("kind", TRAINING_STEP)
def test_training_step(cuda, make_training_cfg, tmp_path, kind):
    """Mixed precision, a batch of two; with all hooks, and the metrics of every twentieth iteration."""
    cfg = make_training_cfg(kind, train_iterations_base=100, eval_period=50)
    assert cfg.SOLVER.AMP.ENABLED
    seed_all_rng(1)
    trainer = MaskALTrainer(cfg, KeepBest(cfg, tmp_path / "best.pth", -1.0))
    head = lively(trainer.model).proposal_generator.rpn_head.objectness_logits
    trainer.start_iter, trainer.max_iter = 18, 100
    with EventStorage(18) as trainer.storage:
        trainer.before_train()
        for trainer.iter in (18, 19):
            before = head.weight.clone()
            cuda.reset()
            trainer.before_step()
            trainer.run_step()
            trainer.after_step()
        check(cuda, TRAINING_STEP[kind])
        assert not head.weight.equal(before)
        assert torch.tensor(trainer.storage.latest()["total_loss"][0]).isfinite()
        trainer.after_train()


@pytest.mark.parametrize("kind", TRAINING_STEP)
def test_numbers_are_those_of_the_processor(cuda, make_training_cfg, make_model, kind):
    """Losses, gradients and detections; each device has code of its own. All is in the samples, which are random."""
    cfg, losses, gradients, boxes = make_training_cfg(kind, precision="fp32", dropout_probability=0), [], [], []
    for head in (cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS):
        head.BATCH_SIZE_PER_IMAGE, head.POSITIVE_FRACTION = 10**6, 1.0
    state = make_model(cfg).state_dict()
    for cfg.MODEL.DEVICE in ("cpu", "cuda"):
        seed_all_rng(0)
        model, batch = make_model(cfg), next(iter(train_loader(cfg)))
        model.load_state_dict(state)
        torch.manual_seed(2)
        with EventStorage():
            losses.append(model.train()(batch))
        sum(losses[-1].values()).backward()
        gradients.append([one.grad.cpu().flatten() for one in model.parameters() if one.grad is not None])
        with torch.no_grad():
            boxes.append(model.eval()(batch)[0]["instances"].pred_boxes.tensor.cpu())
    assert {name: float(one.detach()) for name, one in losses[0].items()} == pytest.approx(
        {name: float(one.detach()) for name, one in losses[1].items()}, rel=1e-3
    )
    one, other = map(torch.cat, gradients)
    assert (one - other).norm() < 1e-2 * one.norm()
    assert torch.allclose(*boxes, atol=1e-2)


def test_training_is_resumed(cuda, make_training_cfg, tmp_path, monkeypatch):
    """To the last bit what it would have been without an interruption."""
    cfg, whole, parts = make_training_cfg(train_iterations_base=3), tmp_path / "whole.pth", tmp_path / "parts.pth"
    cuda.reset()
    train(cfg, best_model=tmp_path / "best.pth", best_ap=-1.0, final_model=whole)
    check(cuda, TRAINING)
    shutil.rmtree(tmp_path / "resume")
    step = MaskALTrainer.run_step

    def interrupted(trainer):
        if trainer.iter == 2:
            raise KeyboardInterrupt
        step(trainer)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MaskALTrainer, "run_step", interrupted)
        train(cfg, best_model=tmp_path / "best.pth", best_ap=-1.0, final_model=parts)
    train(cfg, best_model=tmp_path / "best.pth", best_ap=-1.0, final_model=parts)
    one, other = (torch.load(file, weights_only=True)["model"] for file in (whole, parts))
    assert all(one[name].equal(other[name]) for name in one)


def test_inference(cuda, make_cfg, make_model, image_folder):
    cfg = make_cfg()
    model, (first, second) = make_model(cfg), (read_input(image_folder / name, cfg) for name in IMAGES[:2])
    detect(model, first)
    cuda.reset()
    found = detect(model, second)
    check(cuda, INFERENCE)
    assert found.pred_masks.is_cuda
    assert len(found)


@pytest.mark.parametrize(("kind", "passes"), SAMPLING)
def test_sampling(cuda, make_cfg, make_model, image_folder, kind, passes):
    cfg = make_cfg(kind)
    sampler = MonteCarloDropout(make_model(cfg), cfg, passes=passes, seed=0)
    sampler.forward_passes(IMAGES[0], read_input(image_folder / IMAGES[0], cfg))
    image = read_input(image_folder / IMAGES[1], cfg)
    cuda.reset()
    found = sampler.forward_passes(IMAGES[1], image)
    check(cuda, SAMPLING[kind, passes])
    assert sampler.dtype == torch.bfloat16
    assert all(found.passes)


@pytest.mark.parametrize("cuda", [(7, 5)], indirect=True)
def test_sampling_on_a_gpu_without_bfloat16(cuda, make_cfg, make_model, image_folder):
    cfg = make_cfg()
    sampler = MonteCarloDropout(make_model(cfg), cfg, passes=2, seed=0)
    assert sampler.dtype == torch.float16
    assert all(sampler.forward_passes(IMAGES[0], read_input(image_folder / IMAGES[0], cfg)).passes)


def test_scoring_the_pool_with_workers(cuda, make_cfg, make_model, image_folder, tmp_path):
    cfg, weights = make_cfg(num_workers=2), tmp_path / "weights.pth"
    save_weights(make_model(cfg), weights)
    limits = {"passes": 2, "seed": 0, "iou_threshold": 0.5, "mode": "mean"}
    cuda.reset()
    records = score_images(cfg, weights, image_folder, IMAGES, **limits, records_file=tmp_path / "records.jsonl")
    check(cuda, POOL)
    assert all(record.objects for record in records.values())


def test_label_check(cuda, make_cfg, make_model, image_folder, tmp_path):
    """As many as scoring the pool: comparing is done on the processor, and waits for nothing."""
    cfg, weights = make_cfg(), tmp_path / "weights.pth"
    save_weights(make_model(cfg), weights)
    images = tuple(CocoImage(name, 96, 96, (), (), 0, ()) for name in IMAGES)
    annotated = [AnnotatedImages("val", image_folder, images[:3]), AnnotatedImages("test", image_folder, images[3:])]
    how = {"classes": CLASSES, "passes": 2, "seed": 0, "iou_threshold": 0.5}
    cuda.reset()
    found, fault = compare_images(cfg, weights, annotated, **how)
    check(cuda, LABEL_CHECK)
    assert not fault
    assert all(image.matches for image in found)


@pytest.mark.parametrize("kind", ["FPN", "Cascade"])
def test_evaluation(cuda, make_cfg, make_model, dataset, kind):
    cfg = make_cfg(kind)
    model = make_model(cfg)
    cuda.reset()
    scores = evaluate(model, cfg, dataset, [0.05, 0.26])
    check(cuda, EVALUATION[kind], units=7)
    assert len(scores) == 2


def test_pre_labels(cuda, make_cfg, make_model, image_folder):
    cfg = make_cfg()
    label = PreLabeller(make_model(cfg), cfg, CLASSES)
    cuda.reset()
    annotations = list(label(image_folder, IMAGES))
    check(cuda, PRE_LABELS, units=len(IMAGES))
    assert all(annotation.instances for annotation in annotations)


def test_tiles(cuda, make_cfg, make_model, tmp_path):
    """An image of four tiles, pre-labelled and sampled: for each tile as for an image."""
    cfg = make_cfg(tile_size=64, tile_overlap=0.2)
    pixels = torch.randint(0, 255, (100, 100, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    cv2.imwrite(str(tmp_path / "large.png"), pixels.numpy())
    model = make_model(cfg)
    cuda.reset()
    (annotation,) = PreLabeller(model, cfg, CLASSES)(tmp_path, ["large.png"])
    check(cuda, INFERENCE, units=4)
    assert (annotation.height, annotation.width) == (100, 100) and annotation.instances
    sampler = MonteCarloDropout(model, cfg, passes=2, seed=0)
    cuda.reset()
    found = sampler.forward_passes("large.png", read_input(tmp_path / "large.png", cfg))
    check(cuda, SAMPLING["FPN", 4], units=4)
    assert all(found.passes)


def test_auto_annotate(cuda, project):
    for file in (project.folder / "data" / "val").glob("*.json"):
        file.unlink()
    cuda.reset()
    code = auto_annotate.main(
        ["--img_dir", str(project.folder / "data" / "val"), "--network_config", str(project.folder / "network.yaml"),
         "--weights_file", str(project.weights), "--classes", "disc", "square", "--conf_thres", "0.2"]
    )  # fmt: skip
    check(cuda, AUTO_ANNOTATE)
    assert code == 0
    assert len(list((project.folder / "data" / "val").rglob("*.json"))) == 3


def test_the_whole_loop(cuda, project):
    cuda.reset()
    assert maskAL.main(["--config", project.settings]) == 0
    check(cuda, WHOLE_LOOP)


@pytest.mark.parametrize("tool", [tsne, uncertainty_forward_passes])
def test_study_tools(cuda, project, tool):
    name = tool.__name__.rpartition(".")[2]
    more = ["--passes", "4", "--images", "4"] if tool is uncertainty_forward_passes else []
    cuda.reset()
    files = ["--config", project.settings, "--weights", str(project.weights), "--img_dir", "data/train"]
    assert tool.main([*files, *more, "iou_thres", "0.01", "confidence_threshold", "0.05"]) == 0
    check(cuda, STUDY_TOOLS[name])
