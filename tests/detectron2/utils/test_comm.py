"""Communication in one process and between three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from detectron2.layers.batch_norm import SyncBatchNorm
from detectron2.utils import comm
from tests.processes import spawn


def test_a_single_process() -> None:
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank(), comm.get_local_size()) == (1, 0, 0, 1)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == [{"a": 1}]
    assert comm.gather("x") == ["x"]
    assert 0 <= comm.shared_random_seed() < 2**31
    losses = {"a": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) is losses
    with pytest.raises(RuntimeError, match="launch"):
        comm.get_local_process_group()


def _as_single_process() -> tuple[Any, ...]:
    """What a process gets when it counts as the only one; a call that waited for the others would never return."""
    loss = {"a": torch.tensor(2.0)}
    with comm.single_process():
        comm.synchronize()
        return (
            (comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size()),
            comm.all_gather("x"),
            comm.gather("x", dst=1),
            comm.reduce_dict(loss) is loss,
            SyncBatchNorm(1)(torch.ones(1, 1, 2, 2)).sum().item(),
        )


def _world_sizes_around_single_process() -> list[int]:
    """Inside, nested, inside again, and after an exception."""
    sizes = []
    with pytest.raises(KeyError), comm.single_process():
        sizes.append(comm.get_world_size())
        with comm.single_process():
            sizes.append(comm.get_world_size())
        sizes.append(comm.get_world_size())
        raise KeyError
    return [*sizes, comm.get_world_size()]


def _worker(rank: int, rendezvous: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=4)
    try:
        comm.create_local_process_group(2)
        comm.synchronize()
        losses = {name: torch.tensor(float(rank + offset)) for offset, name in ((0, "b"), (10, "a"))}
        reduced = comm.reduce_dict(losses)
        seen = {
            "ranks": (comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size()),
            "main": comm.is_main_process(),
            "all": comm.all_gather({"rank": rank, "text": "x" * rank}),
            "local": comm.all_gather(rank, group=comm.get_local_process_group()),
            "at2": comm.gather(rank, dst=2),
            "single": _as_single_process() if rank == 3 else None,
            "sizes": _world_sizes_around_single_process(),
            "seed": comm.shared_random_seed(),
            "mean": {name: value.item() for name, value in reduced.items()} if rank == 0 else None,
        }
        torch.save(seen, Path(results) / f"{rank}.pth")
    finally:
        dist.destroy_process_group()


def test_four_processes_on_two_machines(tmp_path: Path) -> None:
    spawn(_worker, args=((tmp_path / "rendezvous").as_uri(), str(tmp_path)), nprocs=4)
    seen = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(4)]
    assert [one["ranks"] for one in seen] == [(0, 4, 0, 2), (1, 4, 1, 2), (2, 4, 0, 2), (3, 4, 1, 2)]
    assert [one["main"] for one in seen] == [True, False, False, False]
    assert all(one["all"] == [{"rank": rank, "text": "x" * rank} for rank in range(4)] for one in seen)
    assert [one["local"] for one in seen] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert [one["at2"] for one in seen] == [[], [], [0, 1, 2, 3], []]
    assert seen[3]["single"] == ((0, 1, 0, 1), ["x"], ["x"], True, 0.0)
    assert all(one["sizes"] == [1, 1, 1, 4] for one in seen)
    assert len({one["seed"] for one in seen}) == 1
    assert seen[0]["mean"] == {"a": 11.5, "b": 1.5}
