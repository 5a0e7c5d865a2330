"""What a failed training or evaluation reports: the images at hand, and which of MaskAL's settings to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from active_learning.errors import MaskALError, first_line
from active_learning.network.image_faults import NamingLoader
from active_learning.system.gpu_failures import gpu_failure, or_no_code
from active_learning.system.log import log_traceback
from active_learning.system.wording import and_more
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.memory import is_cuda_out_of_memory

NAMES_SHOWN = 8
GO_ON = "Then start again: the run goes on"


@contextmanager
def failures_explained(cfg: CfgNode, loader: NamingLoader | None, *, training: bool) -> Iterator[None]:
    """Raises MaskALError, which names the images of the loader's last batch, if any, for whatever fails inside it.

    Failures of the disk pass: they have a report of their own (system/disk_space.py).
    """
    try:
        yield
    except (MaskALError, OSError):
        raise
    except FloatingPointError as error:
        raise MaskALError(
            f"{error}{_at(loader)}. In MaskAL's settings: lower learning_rate ({cfg.SOLVER.BASE_LR:g}) or raise "
            f"warmup_iterations ({cfg.SOLVER.WARMUP_ITERS})"
        ) from error
    except Exception as error:
        what = "training" if training else "evaluation"
        if remedy := _resource_failure(error, cfg, training):
            raise MaskALError(
                f"{remedy[0]} in {what}{_at(loader)}{or_no_code(error)}. In MaskAL's settings: {remedy[1]}. {GO_ON} "
                f"with this loop's {what}. PyTorch says: {first_line(error)}"
            ) from error
        log_traceback(error)
        if isinstance(error, RuntimeError) and (failure := gpu_failure(error)):
            raise MaskALError(f"The GPU failed in {what}{_at(loader)}: {failure}. {GO_ON}") from error
        raise MaskALError(
            f"{what} failed{_at(loader)}: {type(error).__name__}: {first_line(error)}. The log file has the "
            f"details. {'Replace these images, or annotate them again. ' if _at(loader) else ''}{GO_ON}"
        ) from error


@contextmanager
def memory_shortage_named(what: str, remedy: str) -> Iterator[None]:
    """Raises MaskALError, `what` with the `remedy` behind it, where the GPU's memory is too small inside it."""
    try:
        yield
    except RuntimeError as error:
        if not is_cuda_out_of_memory(error):
            raise
        raise MaskALError(f"{what}{or_no_code(error)}{remedy}. PyTorch says: {first_line(error)}") from error


def _at(loader: NamingLoader | None) -> str:
    images = [] if loader is None else loader.images
    return f" at {'the images ' if len(images) > 1 else ''}{and_more(images, NAMES_SHOWN)}" if images else ""


def _resource_failure(error: Exception, cfg: CfgNode, training: bool) -> tuple[str, str] | None:
    """What the machine had too little of, and what to change; None for another failure."""
    remedy = memory_remedy(cfg) if training else inference_remedy(cfg)
    if is_cuda_out_of_memory(error):
        return "CUDA out of memory", remedy
    if isinstance(error, MemoryError) or "allocate memory" in str(error):  # PyTorch's RuntimeError on processors
        return "The machine's memory was too small", remedy
    fewer = f"lower num_workers ({cfg.DATALOADER.NUM_WORKERS})"
    if "_HOST_ALLOCATION_FAILED" in str(error):  # cuDNN's RuntimeError, in a training on a GPU
        return "The machine's memory (not the GPU's) was too small", f"{fewer}; or end other programs"
    if "Too many open files" in str(error):  # PyTorch's RuntimeError, where its processes cannot hand over images
        return "Too many files were open", f"{fewer}; or raise your limit (ulimit -n)"
    if "DataLoader worker" in str(error):  # the system ends processes where its memory is full
        return "A process that loads images was ended from outside", fewer
    return None


def memory_remedy(cfg: CfgNode) -> str:
    """The change that costs least: smaller batches, then half precision, then smaller images."""
    batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if batch > processes:
        smaller = max(batch // (2 * processes), 1) * processes
        return f"lower train_batch_size from {batch} to {smaller} (--find-batch-size finds the largest that fits)"
    return _smaller_images(cfg, "TRAIN") if cfg.SOLVER.AMP.ENABLED else "set precision: amp"


def inference_remedy(cfg: CfgNode) -> str:
    """Where one image at a time is too large. On processors inference is in float32 anyhow."""
    exact = cfg.MODEL.DEVICE != "cpu" and not cfg.SOLVER.AMP.ENABLED
    return "set precision: amp" if exact else _smaller_images(cfg, "TEST")


def _smaller_images(cfg: CfgNode, use: str) -> str:
    longest, shortest = cfg.INPUT[f"MAX_SIZE_{use}"], cfg.INPUT[f"MIN_SIZE_{use}"]
    shortest = shortest if use == "TEST" else max(shortest)
    return (
        f"lower image_max_size from {longest} to {_smaller(longest)} and image_min_size from {shortest} to "
        f"{_smaller(shortest)}"
    )


def _smaller(size: int) -> int:
    """Three quarters, which need little more than half of the memory."""
    return max(int(size * 0.75), 32)
