"""A full GPU, played by a function that raises."""

from __future__ import annotations

import pytest
import torch

from detectron2.utils.memory import retry_if_cuda_oom


class Full:
    """Runs out of memory the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, tensor: torch.Tensor, scale: int = 1) -> torch.Tensor:
        self.calls += 1
        if self.calls <= self.failures:
            raise torch.cuda.OutOfMemoryError("full")
        return tensor * scale


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_full_gpu_is_survived(failures: int) -> None:
    function = Full(failures)
    assert retry_if_cuda_oom(function)(torch.ones(2), scale=3).tolist() == [3, 3]
    assert function.calls == failures + 1


def test_other_errors_and_a_full_cpu_come_through() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        retry_if_cuda_oom(Full(3))(torch.ones(1))
    function = Full(0)
    with pytest.raises(TypeError):
        retry_if_cuda_oom(function)(None)
    assert function.calls == 1


@pytest.mark.gpu
def test_the_last_try_runs_on_the_cpu() -> None:
    result = retry_if_cuda_oom(Full(2))(torch.ones(2, device="cuda"))
    assert result.device.type == "cpu"
