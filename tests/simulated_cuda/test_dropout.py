from __future__ import annotations

import pytest
import torch

from active_learning.network.seeded_dropout import SeededDropout, active_dropout, pass_streams
from tests.simulated_cuda.ledger import Ledger


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1])
def test_drops_what_a_processor_drops_and_waits_for_nothing(cuda: Ledger, p: float) -> None:
    passes, objects = torch.arange(40) // 10, torch.arange(40) % 10
    layer, masks = SeededDropout(p).eval(), []
    for device in ("cpu", "cuda"):
        streams, places, x = pass_streams(passes.to(device)), objects.to(device), torch.ones(40, 7, 3, 5, device=device)
        cuda.reset()
        with active_dropout([layer], "3 a.jpg", streams, places):
            masks.append([layer(x), layer(x)])
        assert cuda.synchronisations == 0, cuda.report()
    for on_processor, on_gpu in zip(*masks, strict=True):
        assert torch.equal(on_processor, on_gpu.cpu())
