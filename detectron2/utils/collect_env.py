"""What a bug report needs about the machine: `python -m detectron2.utils.collect_env`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

import torch
from tabulate import tabulate

import detectron2

_PACKAGES = ("torchvision", "numpy", "pillow", "opencv-python-headless", "fvcore", "iopath", "pycocotools")
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "FVCORE_CACHE", "DETECTRON2_DATASETS")


def collect_env_info() -> str:
    """Table of the versions, devices and environment variables that matter, and PyTorch's build."""
    rows = [
        ("platform", platform.platform()),
        ("Python", sys.version.replace("\n", "")),
        ("detectron2 (in this repository)", detectron2.__version__),
        ("PyTorch", f"{torch.__version__}, debug build: {torch.version.debug}"),
        *((package, _version(package)) for package in _PACKAGES),
        *_devices(),
        *((variable, os.environ[variable]) for variable in _VARIABLES if variable in os.environ),
    ]
    return f"{tabulate(rows)}\n{torch.__config__.show()}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        return [("GPU", f"none; CPU with {torch.get_num_threads()} threads")]
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    rows = [(f"GPU {i}", f"{gpu.name} (sm_{gpu.major}{gpu.minor})") for i, gpu in enumerate(gpus)]
    return [*rows, ("CUDA of PyTorch", str(torch.version.cuda)), ("cuDNN", str(torch.backends.cudnn.version()))]


if __name__ == "__main__":
    print(collect_env_info())
