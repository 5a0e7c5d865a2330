"""Workers of loaders in one of several ranks are no forks of it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.worker_start import worker_start_method
from detectron2.utils import comm
from tests.processes import spawn

HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()


def parent_of_worker(record: dict) -> int:
    return os.getppid()


def _parents() -> set[int]:
    records = [{"number": 0}, {"number": 1}]
    test = build_detection_test_loader(records, mapper=parent_of_worker, num_workers=1)
    options = {"total_batch_size": comm.get_world_size(), "aspect_ratio_grouping": False, "num_workers": 1}
    train = build_detection_train_loader(records, mapper=parent_of_worker, **options)
    return {batch[0] for batch in test} | {next(iter(train))[0]}


def _rank(rank: int, meeting_place: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting_place, rank=rank, world_size=2)
    try:
        parents = _parents()
        with comm.single_process():  # the group and its threads are still there
            parents |= _parents()
        torch.save({"rank": os.getpid(), "parents": parents}, f"{results}/{rank}.pt")
        comm.synchronize()
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not HAS_FORK_SERVER, reason="this system has no fork server, and does not fork")
def test_in_a_rank_workers_come_from_a_server_without_threads(tmp_path: Path) -> None:
    spawn(_rank, ((tmp_path / "meeting").as_uri(), str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert len(found["parents"]) == 1
        assert found["rank"] not in found["parents"]


def test_a_process_alone_starts_them_as_python_does() -> None:
    assert worker_start_method(2) is None
    assert worker_start_method(0) is None
