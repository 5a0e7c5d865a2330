"""The words of CUDA, cuDNN, NCCL and PyTorch, as they come, and what a user reads then."""

from __future__ import annotations

import pytest

from active_learning.system.exit_code import exit_code_of
from active_learning.system.gpu_failures import REMEDIES, gpu_failure, or_no_code

MORE = "\nCUDA kernel errors might be asynchronously reported at some other API call.\nDevice-side assertions were ..."
FAILURES = [
    (
        "CUDA error: no kernel image is available for execution on the device" + MORE,
        "no code for a GPU of this age",
    ),
    ("CUDA error: device-side assert triggered" + MORE, "CUDA_LAUNCH_BLOCKING=1"),
    ("CUDA error: an illegal memory access was encountered" + MORE, "restart the machine"),
    ("CUDA error: unspecified launch failure" + MORE, "restart the machine"),
    ("CUDA error: uncorrectable ECC error encountered" + MORE, "restart the machine"),
    ("CUDA error: unknown error" + MORE, "restart the machine"),
    ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "restart the machine"),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "restart the machine"),
    ("CUDA error: the launch timed out and was terminated" + MORE, "a GPU without a screen"),
    ("CUDA error: all CUDA-capable devices are busy or unavailable" + MORE, "another program has the GPU"),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "unset LD_LIBRARY_PATH"),
    ("NCCL error in: ProcessGroupNCCL.cpp:1691, unhandled system error, NCCL version 2.21.5", "NCCL_SOCKET_IFNAME"),
    ("ncclSystemError: unhandled system error (run with NCCL_DEBUG=INFO for details)", "NCCL_SOCKET_IFNAME"),
    ("CUDA driver version is insufficient for CUDA runtime version", "install a newer NVIDIA driver"),
    ("The NVIDIA driver on your system is too old (found version 11040).", "install a newer NVIDIA driver"),
    ("some processes have not joined the run within 0:10:00: wait timeout", "see what they have reported"),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "the GPU's memory is full"),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED", "not the GPU's, is full: lower num_workers"),
    ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "the GPU's memory is full"),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "the GPU's memory is full"),
    ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "the GPU's memory is full"),
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH", "no code for this GPU"),
    ("Unable to find a valid cuDNN algorithm to run convolution", "no code for this GPU"),
    ("GET was unable to find an engine to execute this computation", "no code for this GPU"),
    ("CUDA out of memory. Tried to allocate 20.00 MiB.", "perhaps of other programs"),
    ('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":995', "perhaps of other programs"),
    ("CUDA driver error: operation not supported", "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False"),
    ("CUDA driver error: unknown error", "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False"),
    ("CUDA driver error: out of memory", "perhaps of other programs"),
]


@pytest.mark.parametrize(("words", "remedy"), FAILURES, ids=[words[:45] for words, _ in FAILURES])
def test_a_failure_of_the_gpu_has_a_remedy(words, remedy, capsys):
    def fail():
        raise RuntimeError(words)

    assert exit_code_of(fail) == 1
    err = capsys.readouterr().err.strip()
    assert err.startswith(words.split("\n")[0] + "; ")
    assert remedy in err
    assert "\n" not in err


def test_each_remedy_is_reached_and_other_errors_are_not_explained():
    assert all(any(text in words for words, _ in FAILURES) for text in REMEDIES)
    assert gpu_failure(RuntimeError("shapes differ")) == or_no_code(RuntimeError("shapes differ")) == ""
    with pytest.raises(RuntimeError, match="shapes differ"):
        exit_code_of(lambda: (_ for _ in ()).throw(RuntimeError("shapes differ")))
