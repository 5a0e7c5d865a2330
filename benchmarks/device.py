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
        f"{os.cpu_count()} CPU cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), {gpu}; "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, torchvision {torchvision.__version__}. "
        "Times are noisy: compare ratios.\n"
    )
    print(
        "On a CPU, ratios of inference, training and sampling are those of x86 processors with AVX2 and no AVX-512. On "
        "other processors 3x3 convolutions are PyTorch's own, so the ratios differ there (`detectron2/layers/cpu`).\n"
    )
    print("fp32 is float32 for all that is compared, on GPUs, too: without TF32, as with MaskAL's `precision: fp32`.\n")


if __name__ == "__main__":
    main()
