"""The network's configuration (a Detectron2 CfgNode) from MaskAL's settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.network_file import read_network_file, with_dropout_heads
from active_learning.settings import Experiment, Settings
from active_learning.settings.keys import MOST_ITERATIONS
from active_learning.settings.overlaps import start_weights_file
from active_learning.settings.paths import DOWNLOADS
from active_learning.system.devices import gpu_is_available, why_no_gpu
from active_learning.system.log import logger
from active_learning.system.names import normalised
from active_learning.system.wording import counted

if TYPE_CHECKING:
    from detectron2.config import CfgNode

SCHEDULES = {
    "steps_with_decay": "WarmupMultiStepLR",
    # One learning rate a step; the settings give the first rate and the ratio of one to the next.
    "steps_with_lrs": "WarmupMultiStepLR",
    "step": "WarmupStepWithFixedGammaLR",
    "cosine_decay": "WarmupCosineLR",
    "exp_decay": "WarmupExponentialLR",
}


def network_config(settings: Settings, experiment: Experiment, file: CfgNode | None = None) -> CfgNode:
    """The Mask R-CNN of the settings with dropout heads, classes, thresholds, image sizes and device, to be built from.

    Args:
        file: of `read_network_file`, where it has been read before.

    Raises:
        MaskALError: as `read_network_file` and `with_dropout_heads`.
    """
    from active_learning.network import dropout_heads  # noqa: F401  (registers the heads)

    cfg = network_without_device(settings, experiment, file)
    cfg.MODEL.DEVICE = _device(settings.cuda_visible_devices)
    cfg.SOLVER.AMP.ENABLED = mixed_precision(settings.precision, cfg.MODEL.DEVICE)
    return cfg


def network_without_device(settings: Settings, experiment: Experiment, file: CfgNode | None = None) -> CfgNode:
    """As `network_config`, without asking the hardware."""
    name = settings.network_config
    cfg = with_dropout_heads(file or read_network_file(name), name)
    heads = cfg.MODEL.ROI_HEADS
    heads.DROPOUT_PROBABILITY = float(experiment.dropout_probability)
    heads.NUM_CLASSES = len(settings.classes)
    heads.SCORE_THRESH_TEST = float(settings.confidence_threshold)
    heads.NMS_THRESH_TEST = float(settings.nms_threshold)
    _set_image_sizes(cfg, settings)
    cfg.INPUT.MAX_PIXELS = settings.most_pixels
    cfg.INPUT.TILE_SIZE, cfg.INPUT.TILE_OVERLAP = settings.tile_size or 0, float(settings.tile_overlap)  # 0: no tiles
    cfg.DATALOADER.NUM_WORKERS = settings.num_workers
    cfg.SEED = experiment.seed
    return cfg


def training_config(
    cfg: CfgNode,
    settings: Settings,
    *,
    image_count: int,
    class_images: Mapping[str, int],
    train_dataset: str,
    val_dataset: str,
    weights: str,
    output_dir: Path,
) -> CfgNode:
    """`cfg` with the schedule, sampler and data of one training.

    Args:
        image_count: number of training images.
        class_images: class name -> number of training images that hold it.
        train_dataset, val_dataset: names of `training.register_dataset`.
        weights: what to start from; "" for random weights.
        output_dir: where logs and what a resumed training needs go.
    """
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = weights
    cfg.OUTPUT_DIR = str(output_dir)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train_dataset,), (val_dataset,)
    _set_loader(cfg, settings, image_count, class_images)
    _set_schedule(cfg, settings, training_iterations(image_count, settings))
    cfg.TEST.EVAL_PERIOD = settings.eval_period
    return cfg


def training_iterations(image_count: int, settings: Settings) -> int:
    """train_epochs passes over the images; else train_iterations_base, and train_iterations_step_size for each further
    started step_image_number of images.

    Raises:
        SettingsError: they are more than any training has.
    """
    if settings.train_epochs is not None:
        keys = f"train_epochs {settings.train_epochs:g} at train_batch_size {settings.train_batch_size}"
        passes = settings.train_epochs * image_count / settings.train_batch_size
        iterations = math.ceil(round(passes, 6))  # 2.2 x 50 is a bit more than 110
    else:
        keys = (
            f"train_iterations_step_size {settings.train_iterations_step_size} each {settings.step_image_number} images"
        )
        steps = math.ceil(image_count / settings.step_image_number)
        iterations = settings.train_iterations_base + max(steps - 1, 0) * settings.train_iterations_step_size
    if iterations > 2 * MOST_ITERATIONS:  # base and one step, each at its bound
        raise SettingsError(
            f"{keys}: a training on {counted(image_count, 'image')} would have {iterations} iterations, it can have "
            f"at most {2 * MOST_ITERATIONS}; lower them"
        )
    return iterations


def pretrained_weights(settings: Settings) -> str:
    """Path or address of the weights of `pretrained_weights`; "" for none.

    Raises:
        MaskALError: neither a file or an address nor a config with published weights.
    """
    from detectron2 import model_zoo

    name = start_weights_file(settings)
    if not name or name.startswith(DOWNLOADS):
        return name
    if (file := Path(name).expanduser()).is_file():
        return str(file)
    if Path(name).suffix not in (".yaml", ".yml"):
        raise MaskALError(f"pretrained_weights: there is no file {name}; give a .pth or .pkl file, or a config's name")
    try:
        return model_zoo.get_checkpoint_url(name)
    except RuntimeError as error:
        raise MaskALError(
            f"pretrained_weights: there are no published weights for {name}; "
            "give a config with COCO weights, a .pth or .pkl file, or '' to train from scratch"
        ) from error


def _set_image_sizes(cfg: CfgNode, settings: Settings) -> None:
    smallest, largest = settings.image_min_size, settings.image_max_size
    if smallest is not None:
        cfg.INPUT.MIN_SIZE_TRAIN = (smallest,)
        cfg.INPUT.MIN_SIZE_TEST = smallest
    if largest is not None:
        cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = largest


@functools.cache
def _device(cuda_visible_devices: str) -> str:
    """Cached, so that a missing GPU is reported once and not for every experiment."""
    if cuda_visible_devices == "cpu":
        return "cpu"
    if gpu_is_available():
        return "cuda"
    text = "No CUDA GPU is available (cuda_visible_devices: %s): running on the CPU, which is slow%s"
    logger.warning(text, cuda_visible_devices, f". PyTorch says: {reason}" if (reason := why_no_gpu()) else "")
    return "cpu"


def mixed_precision(precision: str, device: str) -> bool:
    """`auto` is mixed precision where the hardware calculates in 16 bits: GPUs, and CPUs with bfloat16."""
    if precision == "auto":
        return device == "cuda" or _cpu_has_bfloat16()
    return precision == "amp"


def _cpu_has_bfloat16() -> bool:
    """With a PyTorch that does not report it, as a CPU without: emulated, it would be slower than float32."""
    import torch

    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _set_loader(cfg: CfgNode, settings: Settings, image_count: int, class_images: Mapping[str, int]) -> None:
    loader = cfg.DATALOADER
    loader.SAMPLER_TRAIN = settings.train_sampler
    # An image without an object teaches what is none.
    loader.FILTER_EMPTY_ANNOTATIONS = False
    if settings.train_sampler == "RepeatFactorTrainingSampler":
        loader.REPEAT_THRESHOLD = _repeat_threshold(settings, image_count, class_images)
    cfg.SOLVER.IMS_PER_BATCH = settings.train_batch_size


def _repeat_threshold(settings: Settings, image_count: int, class_images: Mapping[str, int]) -> float:
    """The category frequency below which images repeat (Gupta et al. 2019, LVIS, appendix B).

    It is set so that images of the rarest minority class come repeat_factor_smallest_class times as often.
    """
    images = {normalised(name): count for name, count in class_images.items()}
    counts = {name: images.get(normalised(name), 0) for name in settings.minority_classes}
    absent = [name for name, count in counts.items() if count == 0]
    if absent:
        logger.warning("No training image holds %s: there is nothing of it to repeat", ", ".join(absent))
    smallest = min((count for count in counts.values() if count > 0), default=0)
    return min(settings.repeat_factor_smallest_class**2 * smallest / image_count, 1.0) if image_count else 0.0


def _set_schedule(cfg: CfgNode, settings: Settings, iterations: int) -> None:
    solver = cfg.SOLVER
    solver.MAX_ITER = iterations
    solver.BASE_LR = float(settings.learning_rate)
    solver.WEIGHT_DECAY = float(settings.weight_decay)
    solver.GAMMA = float(settings.gamma)
    solver.LR_SCHEDULER_NAME = SCHEDULES[settings.learning_policy]
    # A very short run may round two steps to one iteration, or one to none.
    solver.STEPS = tuple(sorted({int(ratio * iterations) for ratio in settings.step_ratios} - {0}))
    # All policies that fall by gamma end at the same rate.
    solver.NUM_DECAYS = len(settings.step_ratios)
    solver.WARMUP_ITERS = _warmup(settings.warmup_iterations, iterations)
    solver.CHECKPOINT_PERIOD = settings.checkpoint_period


def _warmup(wanted: int, iterations: int) -> int:
    longest = iterations // 2
    if wanted > longest:
        text = "warmup_iterations %d is too long for a training of %d iterations: cut to %d"
        logger.warning(text, wanted, iterations, longest)
    return min(wanted, longest)
