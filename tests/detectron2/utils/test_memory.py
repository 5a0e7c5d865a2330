"""A full GPU, played by a function that raises."""

from __future__ import annotations

import weakref

import pytest
import torch

from detectron2.utils.memory import is_cuda_out_of_memory, none_if_cuda_oom, retry_if_cuda_oom

FULL = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995, please ...'),
]
HOST_FULL = RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED")


class Full:
    """Runs out of memory the first `failures` times."""

    def __init__(self, failures: int, error: Exception = FULL[0]) -> None:
        self.failures, self.calls, self.error = failures, 0, error

    def __call__(self, tensor: torch.Tensor, scale: int = 1) -> torch.Tensor:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
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


@pytest.mark.parametrize("error", FULL, ids=str)
def test_each_library_has_its_own_words(error: Exception) -> None:
    assert is_cuda_out_of_memory(error)
    assert retry_if_cuda_oom(Full(1, error))(torch.ones(1)).tolist() == [1]


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), HOST_FULL, MemoryError("out of memory"), ValueError()], ids=str
)
def test_what_is_no_full_gpu(error: Exception) -> None:
    assert not is_cuda_out_of_memory(error)
    with pytest.raises(type(error)):
        none_if_cuda_oom(Full(1, error), torch.ones(1))


def test_what_a_failed_try_made_is_gone_before_the_next() -> None:
    made: list[weakref.ref] = []

    def large() -> int:
        assert not any(tensor() is not None for tensor in made)
        tensor = torch.ones(1)
        made.append(weakref.ref(tensor))
        if len(made) < 2:
            raise torch.cuda.OutOfMemoryError
        return 5

    assert none_if_cuda_oom(large) is None
    assert retry_if_cuda_oom(large)() == 5


@pytest.mark.gpu
def test_the_last_try_runs_on_the_cpu() -> None:
    result = retry_if_cuda_oom(Full(2))(torch.ones(2, device="cuda"))
    assert result.device.type == "cpu"
