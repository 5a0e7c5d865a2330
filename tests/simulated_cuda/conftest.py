from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulated_cuda.ledger import Ledger
from tests.simulated_cuda.torch_cuda import simulated_cuda


@pytest.fixture
def cuda() -> Iterator[Ledger]:
    """This process has one GPU, a simulated one; what it counts."""
    with simulated_cuda() as ledger:
        yield ledger
