"""On what were the tables measured?"""

from __future__ import annotations

import os
import platform

import torch
import torchvision


def main() -> None:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA GPU"
    print("# Benchmark results\n")
    print(
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}; Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}. Times are noisy: compare ratios.\n"
    )


if __name__ == "__main__":
    main()
