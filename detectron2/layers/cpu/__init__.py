"""Operators for processors (CPUs), faster there than PyTorch's and torchvision's and equal to them but for rounding.

Winograd convolutions, RoIAlign as weighted sums, and the sparse gradient of the RPN head. A layer that has one uses it
where its `cpu_kernels` is true, and the plain operator otherwise.
"""

from __future__ import annotations

from torch import nn

CHOICES = {"auto": True, "off": False}


def set_cpu_kernels(model: nn.Module, choice: str) -> None:
    """Let all layers of `model` use these operators where they are faster ("auto"), or never ("off").

    Copies and pickles of the model keep the choice. Raises ValueError for another word.
    """
    if choice not in CHOICES:
        raise ValueError(f"MODEL.CPU_KERNELS is {choice!r}; it can be {' or '.join(map(repr, CHOICES))}")
    for module in model.modules():
        if hasattr(module, "cpu_kernels"):
            module.cpu_kernels = CHOICES[choice]  # type: ignore[assignment]
