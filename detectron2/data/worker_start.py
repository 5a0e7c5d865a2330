"""How the worker processes of a loader are started."""

from __future__ import annotations

import multiprocessing

import torch.distributed as dist


def worker_start_method(num_workers: int) -> str | None:
    """For DataLoader's `multiprocessing_context`: a fork server in each of several ranks; None: Python's own choice.

    The process group has threads that enter and leave Python at any moment. In a rank that forks just then, up to
    Python 3.11, the copy inherits a locked interpreter and stands still for ever, and the rank waits for it. The
    server is a new program, without such threads. What a worker is given must be picklable.
    """
    in_a_group = dist.is_available() and dist.is_initialized()
    if not num_workers or not in_a_group or "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    multiprocessing.set_forkserver_preload(["detectron2.data"])
    return "forkserver"
