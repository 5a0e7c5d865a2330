"""What CUDA and its libraries report, which have their own words for it, and what to do about it."""

from __future__ import annotations

from active_learning.errors import first_line

_DRIVER = "install a newer NVIDIA driver, or a PyTorch for the CUDA version that nvidia-smi shows (INSTALL.md)"
_BROKEN = (
    "the driver or the hardware is at fault: restart the machine; should it come again, look into dmesg for Xid, "
    "at the temperature in nvidia-smi, and whether a run on another GPU or with cuda_visible_devices: cpu passes"
)
_NETWORK = (
    "the processes do not reach one another: name their network (NCCL_SOCKET_IFNAME=eth0), open its ports between the "
    "machines, and start with NCCL_DEBUG=INFO, which names what fails"
)
_FULL = (
    "the GPU's memory is full, perhaps of other programs: nvidia-smi lists them; end them, or name another GPU "
    "(cuda_visible_devices)"
)
_HOST_FULL = "the machine's memory, not the GPU's, is full: lower num_workers, or end other programs"
_NO_GROWTH = (
    "perhaps the driver refuses memory that grows, as those of virtual GPUs and of Jetsons: set the environment "
    "variable PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False"
)
_NO_CODE = "this PyTorch has no code for this GPU (INSTALL.md)"
_FULL_OR_NO_CODE = ("was unable to find an engine to execute", "Unable to find a valid cuDNN algorithm")
REMEDIES = {
    "CUDA driver version is insufficient for CUDA runtime version": _DRIVER,
    "The NVIDIA driver on your system is too old": _DRIVER,
    "no kernel image is available for execution on the device": "this PyTorch has no code for a GPU of this age; "
    "install another one, older for an old GPU, newer for a new one (INSTALL.md)",
    "ARCH_MISMATCH": _NO_CODE,
    "device-side assert triggered": "a number was out of range on the GPU, such as that of a class; start with "
    "CUDA_LAUNCH_BLOCKING=1 and look into the log file, which then names the place",
    "an illegal memory access was encountered": _BROKEN,
    "unspecified launch failure": _BROKEN,
    "uncorrectable ECC error encountered": _BROKEN,
    "_HOST_ALLOCATION_FAILED": _HOST_FULL,
    "_DEVICE_ALLOCATION_FAILED": _FULL,
    "_ALLOC_FAILED": _FULL,  # of cuBLAS, cuDNN 8, cuSOLVER, cuFFT
    "CUBLAS_STATUS_NOT_INITIALIZED": _FULL,
    **dict.fromkeys(_FULL_OR_NO_CODE, f"{_FULL}; or {_NO_CODE}"),
    "CUDNN_STATUS_EXECUTION_FAILED": _BROKEN,
    "CUDNN_STATUS_INTERNAL_ERROR": _BROKEN,
    "CUDA error: unknown error": _BROKEN,
    "the launch timed out and was terminated": "the GPU drives a screen, and its driver ends what takes long: lower "
    "image_max_size and image_min_size, or use a GPU without a screen",
    "all CUDA-capable devices are busy or unavailable": "another program has the GPU for itself: nvidia-smi lists it; "
    "end it, or name another GPU (cuda_visible_devices)",
    "CUDNN_STATUS_NOT_INITIALIZED": f"{_FULL}; or another cuDNN is found before PyTorch's own: unset LD_LIBRARY_PATH",
    "NCCL error": _NETWORK,
    "unhandled system error": _NETWORK,
    "have not joined the run": "see what they have reported, and start again on all machines",
    "NVML_SUCCESS == r": _FULL,
    "out of memory": _FULL,
    "CUDA driver error": _NO_GROWTH,  # PyTorch calls it for such memory
}


def gpu_failure(error: RuntimeError) -> str:
    """What has failed, and the remedy; "" where it is no failure of a GPU that is known."""
    words = str(error)
    remedy = next((remedy for text, remedy in REMEDIES.items() if text in words), "")
    return f"{first_line(error)}; {remedy}" if remedy else ""


def or_no_code(error: BaseException) -> str:
    """Stands behind "memory is too small" where the library would say the same of a GPU that it has no code for."""
    return f", or {_NO_CODE}" if any(text in str(error) for text in _FULL_OR_NO_CODE) else ""
