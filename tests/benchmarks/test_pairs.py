"""What the benchmarks call fp32 is float32."""

from __future__ import annotations

import pytest
import torch

from benchmarks import pairs


@pytest.mark.parametrize("measured", ["time", "memory"])
def test_fp32_is_float32_while_the_peers_are_measured(monkeypatch, capsys, measured):
    """PyTorch lets convolutions on GPUs round their input to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []

    def make_ready(device: str) -> pairs.Call:
        return lambda: seen.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)

    if measured == "memory":
        pairs.peak_memory(make_ready)
    else:
        monkeypatch.setattr(pairs, "peak_memory_alone", lambda name: 1.0)
        pairs.print_table("title", {"engine": make_ready, "peer": make_ready}, pairs=1, images=1)
    assert set(seen) == {False}
