from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from detectron2.engine import launch

SCRIPT = """
import json, sys
from pathlib import Path

import torch
from torch import nn

from detectron2.engine import SimpleTrainer, create_ddp_model, launch
from detectron2.utils import comm


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return {"loss_a": (self.weight - x).square(), "loss_b": 0 * self.weight}


def main(folder):
    torch.set_num_threads(1)
    model = create_ddp_model(Model())
    # The gradient is that of both processes: rank 0 pulls to 1, rank 1 to 3.
    batch = torch.tensor(1.0 + 2 * comm.get_rank())
    trainer = SimpleTrainer(model, [batch], torch.optim.SGD(model.parameters(), lr=0.5))
    trainer.train(0, 1)
    facts = {
        "rank": comm.get_rank(), "local_rank": comm.get_local_rank(),
        "world": comm.get_world_size(), "local_size": comm.get_local_size(),
        "weight": model.module.weight.item(), "loss": trainer.storage.latest()["total_loss"][0],
    }
    (Path(folder) / f"{comm.get_rank()}.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    launch(main, 2, dist_url="auto", args=(sys.argv[1],))
"""


@pytest.mark.parametrize(
    "starter",
    [[], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]],
    ids=["launch", "torchrun"],
)
def test_two_processes_train_as_one(tmp_path, project_root, starter):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(project_root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *starter, str(script), str(tmp_path)]
    subprocess.run(line, check=True, env=environment, timeout=300)
    facts = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    assert [fact["rank"] for fact in facts] == [fact["local_rank"] for fact in facts] == [0, 1]
    assert all(fact["world"] == fact["local_size"] == 2 for fact in facts)
    assert all(fact["weight"] == pytest.approx(2.0) for fact in facts)
    assert all(fact["loss"] == pytest.approx((1 + 9) / 2) for fact in facts)


@pytest.mark.parametrize("joined", [False, True], ids=["a single process", "connected by the script"])
def test_torchruns_process_is_used_as_it_is(monkeypatch, joined):
    seen = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2" if joined else "1")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: joined)
    launch(lambda *args: seen.append((os.getpid(), args)), 4, args=(1,))
    assert seen == [(os.getpid(), (1,))]


def test_one_process_is_this_one():
    seen = []
    launch(lambda *args: seen.append((os.getpid(), args)), 1, args=(1, "a"))
    assert seen == [(os.getpid(), (1, "a"))]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dist_url": None}, "need dist_url"), ({"dist_url": "auto", "num_machines": 2}, "single machine")],
    ids=["no address", "auto on two machines"],
)
def test_wrong_meeting_place(options, message):
    with pytest.raises(ValueError, match=message):
        launch(print, 2, **options)
