"""The GPU's memory runs out: what goes on gives the same result, what ends names the setting to change."""

from __future__ import annotations

import numpy as np
import pytest

from active_learning.errors import MaskALError
from active_learning.network.batch_size import largest_batch_that_fits
from active_learning.network.evaluation import evaluate
from active_learning.network.mc_dropout import MonteCarloDropout
from active_learning.network.pre_labelling import PreLabeller
from active_learning.network.prediction import read_input
from active_learning.network.training import MaskALTrainer, train
from active_learning.network.training_hooks import KeepBest
from detectron2.modeling import GeneralizedRCNN
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from tests.simulated_cuda.device import live_bytes
from tests.simulated_cuda.networks import CLASSES

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
IMAGES = ["0.png", "1.png", "2.png", "3.png"]
# What cuDNN and cuBLAS raise where they can allocate nothing.
LIBRARY_FAILURES = [
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "GET was unable to find an engine to execute this computation",
]


@pytest.fixture
def run_training(make_training_cfg, tmp_path):
    """Trains, for one iteration by default, and evaluates."""

    def run(iterations=1, period=1):
        cfg = make_training_cfg(train_iterations_base=iterations, eval_period=period)
        train(cfg, best_model=tmp_path / "best.pth", best_ap=-1.0, final_model=tmp_path / "final.pth")

    return run


@pytest.mark.parametrize("place", ["pairwise_iou", "matcher.py"])
def test_matching_anchors_goes_on_on_the_processor(cuda, make_training_cfg, tmp_path, place):
    cfg, losses = make_training_cfg(), []
    for times in (0, 2):
        shortage = cuda.run_out_of_memory("", place, times=times)
        seed_all_rng(0)
        trainer = MaskALTrainer(cfg, KeepBest(cfg, tmp_path / "best.pth", -1.0))
        with EventStorage() as trainer.storage:
            trainer.run_step()
            losses.append({name: value for name, (value, _) in trainer.storage.latest().items() if "loss" in name})
        assert len(shortage.raised) == times
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_training_names_the_batch_size(cuda, run_training):
    cuda.run_out_of_memory("aten::convolution_backward")
    with pytest.raises(
        MaskALError, match="CUDA out of memory in training at the images .*lower train_batch_size from 2"
    ):
        run_training()


@pytest.mark.parametrize("message", LIBRARY_FAILURES)
def test_training_knows_the_failures_of_libraries(cuda, run_training, message):
    cuda.run_out_of_memory("aten::convolution", error=RuntimeError, message=message)
    with pytest.raises(MaskALError, match="lower train_batch_size from 2 to 1"):
        run_training()


def test_a_gpu_that_has_failed_for_good_hides_neither_images_nor_reason(cuda, run_training, monkeypatch):
    """From then on each operation fails: what the steps before have left there cannot be fetched either."""
    forward, calls = GeneralizedRCNN.forward, []

    def failing(model, batch):
        calls.append(batch)
        if len(calls) == 3:
            words = "CUDA error: an illegal memory access was encountered"
            cuda.run_out_of_memory(times=10**9, error=RuntimeError, message=words)
        return forward(model, batch)

    monkeypatch.setattr(GeneralizedRCNN, "forward", failing)
    with pytest.raises(MaskALError, match="The GPU failed in training at the images .*illegal.*; the driver or the"):
        run_training(iterations=4, period=4)


def test_the_largest_batch_is_found_with_an_untrained_network_in_float16(cuda, make_training_cfg):
    """As of an untrained R_101, its values are larger than any of float16."""
    cfg = make_training_cfg(image_max_size=96)
    cfg.MODEL.PIXEL_STD = [1e-4] * 3
    shortage = cuda.run_out_of_memory("aten::convolution_backward", after=5, times=1)
    assert largest_batch_that_fits(cfg, most=2) == 2 - len(shortage.raised)
    assert largest_batch_that_fits(cfg, most=2) == 2


def test_validation_names_the_size_of_images(cuda, run_training):
    cuda.run_out_of_memory("aten::convolution", "training_hooks.py", times=2)
    with pytest.raises(MaskALError, match="memory in evaluation at 0.png.*image_max_size"):
        run_training()


@pytest.fixture
def sampler(make_cfg, make_model):
    cfg = make_cfg(precision="fp32")
    return MonteCarloDropout(make_model(cfg), cfg, passes=4, seed=0)


def _same(one, other):
    assert [len(found) for found in one.passes] == [len(found) for found in other.passes]
    for found, again in zip(sum(one.passes, ()), sum(other.passes, ()), strict=True):
        assert np.allclose(found.box, again.box, atol=1e-3)
        assert np.array_equal(found.mask.pixels, again.mask.pixels)


@pytest.mark.parametrize("place", ["dropout_heads.py", "mask_head.py"])
def test_sampling_goes_on_with_fewer_passes_at_once(cuda, sampler, image_folder, place):
    image = read_input(image_folder / "0.png", sampler.cfg)
    before = sampler.forward_passes("0.png", image)
    shortage = cuda.run_out_of_memory("aten::", place, after=5)
    _same(before, sampler.forward_passes("0.png", image))
    assert shortage.raised


def test_sampling_that_never_fits_names_the_setting(cuda, sampler, image_folder):
    """What does not fit is the backbone: fewer passes at once do not help, and are not tried."""
    shortage = cuda.run_out_of_memory("aten::convolution", "resnet.py", times=100)
    with pytest.raises(MaskALError, match="choosing images.*set precision: amp"):
        sampler.forward_passes("0.png", read_input(image_folder / "0.png", sampler.cfg))
    assert len(shortage.raised) <= 2


@pytest.fixture
def evaluated(make_cfg, make_model, dataset):
    """Scores of the same network and images."""

    def run():
        cfg = make_cfg()
        return evaluate(make_model(cfg), cfg, dataset, [0.05, 0.26])

    return run


def test_evaluation_goes_on_with_masks_on_the_processor(cuda, evaluated):
    before = evaluated()
    shortage = cuda.run_out_of_memory("", "mask_ops.py", times=2)
    assert evaluated() == before
    assert len(shortage.raised) == 2


def test_evaluation_names_the_size_of_images(cuda, evaluated):
    cuda.run_out_of_memory("aten::convolution", "resnet.py", times=2)
    with pytest.raises(MaskALError, match="memory in evaluation at 0.png.*image_max_size"):
        evaluated()


@pytest.fixture
def labeller(make_cfg, make_model):
    cfg = make_cfg()
    return PreLabeller(make_model(cfg), cfg, CLASSES)


def _pre_labels(labeller, folder):
    found = sorted(labeller(folder, IMAGES), key=lambda annotation: annotation.image)
    return [[(one.label, one.bitmap.mask.tolist()) for one in annotation.instances] for annotation in found]


def test_pre_labels_of_one_image_after_the_other(cuda, labeller, image_folder):
    before = _pre_labels(labeller, image_folder)
    shortage = cuda.run_out_of_memory("aten::convolution", "rpn.py")
    assert _pre_labels(labeller, image_folder) == before
    assert len(shortage.raised) == 1


def test_pre_labels_with_masks_on_the_processor(cuda, labeller, image_folder):
    before = _pre_labels(labeller, image_folder)
    shortage = cuda.run_out_of_memory("", "detection_crops.py")
    assert _pre_labels(labeller, image_folder) == before
    assert len(shortage.raised) == 1


def test_single_images_have_the_memory_of_the_batch_that_failed(cuda, labeller, image_folder, monkeypatch):
    _pre_labels(labeller, image_folder)  # from here on it keeps anchors
    held, inference = [], labeller.model.inference

    def watched(*args, **options):
        if len(held) < 2:
            held.append(live_bytes())
        return inference(*args, **options)

    monkeypatch.setattr(labeller.model, "inference", watched)
    cuda.run_out_of_memory("aten::convolution", "rpn.py")
    _pre_labels(labeller, image_folder)
    assert held[1] == held[0]


def test_an_image_that_is_too_large_is_named(cuda, labeller, image_folder):
    cuda.run_out_of_memory("aten::convolution", "resnet.py", times=3)
    with pytest.raises(MaskALError, match="0.png: the GPU's memory is too small for this image; lower image_max_size"):
        list(labeller(image_folder, IMAGES[:2]))
