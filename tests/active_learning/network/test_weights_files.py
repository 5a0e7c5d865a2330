from __future__ import annotations

import pytest
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network.weights_files import save_weights


@pytest.mark.parametrize(
    "failure", [OSError("disk full"), RuntimeError("disk full\nat x.cc:1")], ids=lambda one: type(one).__name__
)
def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch, failure):
    path = tmp_path / "w.pth"
    save_weights(nn.Linear(1, 1), path)
    before = path.read_bytes()

    def fail(_, target):
        target.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(MaskALError, match=r"w\.pth: cannot be written \(disk full\); its disk is mounted at /.* left"):
        save_weights(nn.Linear(1, 1), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


def test_weights_of_a_wrapped_model_have_plain_names(tmp_path):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    save_weights(Wrapped(nn.Linear(1, 1)), tmp_path / "w.pth")
    assert set(torch.load(tmp_path / "w.pth", weights_only=True)["model"]) == {"weight", "bias"}
