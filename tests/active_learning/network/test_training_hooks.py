from __future__ import annotations

from types import SimpleNamespace
from weakref import WeakSet

from tqdm import tqdm

from active_learning.network.training_hooks import ProgressBar
from detectron2.utils.events import EventStorage


def test_progress_bar_counts_from_the_start_iteration(capsys, monkeypatch):
    monkeypatch.setattr("active_learning.system.progress.SOON_DONE", 0)
    monkeypatch.setattr(tqdm, "_instances", WeakSet())  # bars of tests that failed half-way move this one down
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
