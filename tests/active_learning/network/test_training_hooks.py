from __future__ import annotations

from types import SimpleNamespace

from active_learning.network.training_hooks import ProgressBar
from detectron2.utils.events import EventStorage


def test_progress_bar_counts_from_the_start_iteration(capsys):
    bar = ProgressBar()
    with EventStorage(0) as storage:
        bar.trainer = SimpleNamespace(start_iter=8, max_iter=10, iter=8, storage=storage)
        bar.before_train()
        for bar.trainer.iter in (8, 9):
            storage.put_scalar("total_loss", 2.5)
            bar.after_step()
        bar.after_train()
    assert "10/10" in capsys.readouterr().err
