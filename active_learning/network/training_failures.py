"""What a failed training reports: which of MaskAL's settings to change, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from active_learning.errors import MaskALError, first_line
from detectron2.config import CfgNode
from detectron2.utils import comm


@contextmanager
def failures_explained(cfg: CfgNode) -> Iterator[None]:
    """Raises MaskALError where the loss became infinite or NaN, or the GPU's memory was too small."""
    try:
        yield
    except FloatingPointError as error:
        raise MaskALError(
            f"{error}. In MaskAL's settings: lower learning_rate ({cfg.SOLVER.BASE_LR:g}) or raise "
            f"warmup_iterations ({cfg.SOLVER.WARMUP_ITERS})"
        ) from error
    except torch.cuda.OutOfMemoryError as error:
        raise MaskALError(
            f"CUDA out of memory in training. In MaskAL's settings: {memory_remedy(cfg)}. Then start again: the run "
            f"goes on with this loop's training. PyTorch says: {first_line(error)}"
        ) from error


def memory_remedy(cfg: CfgNode) -> str:
    """The change that costs least: smaller batches, then half precision, then smaller images."""
    batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if batch > processes:
        return f"lower train_batch_size from {batch} to {max(batch // (2 * processes), 1) * processes}"
    if not cfg.SOLVER.AMP.ENABLED:
        return "set precision: amp"
    longest, shortest = cfg.INPUT.MAX_SIZE_TRAIN, max(cfg.INPUT.MIN_SIZE_TRAIN)
    return (
        f"lower image_max_size from {longest} to {_smaller(longest)} and image_min_size from {shortest} to "
        f"{_smaller(shortest)}"
    )


def _smaller(size: int) -> int:
    """Three quarters, which need little more than half of the memory."""
    return max(int(size * 0.75), 32)
