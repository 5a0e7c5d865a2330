from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from active_learning.network.training_hooks import ProgressBar, save_weights
from detectron2.utils.events import EventStorage


def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    save_weights(nn.Linear(1, 1), path)
    before = path.read_bytes()

    def fail(_, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(nn.Linear(1, 1), path)
    assert path.read_bytes() == before


def test_weights_of_a_wrapped_model_have_plain_names(tmp_path):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    save_weights(Wrapped(nn.Linear(1, 1)), tmp_path / "w.pth")
    assert set(torch.load(tmp_path / "w.pth", weights_only=True)["model"]) == {"weight", "bias"}


def test_progress_bar_counts_from_the_start_iteration(capsys, monkeypatch):
    monkeypatch.setattr("active_learning.progress.SOON_DONE", 0)
    bar = ProgressBar()
    with EventStorage(0) as storage:
        bar.trainer = SimpleNamespace(start_iter=19, max_iter=21, iter=19, storage=storage)
        bar.before_train()
        for bar.trainer.iter in (19, 20):
            storage.put_scalar("total_loss", 2.5)
            bar.after_step()
        bar.after_train()
    shown = capsys.readouterr().err
    assert "21/21" in shown and "loss 2.500" in shown
