"""Initial weights as Caffe2 sampled them, which the published schedules were tuned on."""

from __future__ import annotations

from typing import Any

from torch import nn


def c2_msra_fill(module: Any) -> None:
    """Normal weights of variance 2 / fan_out, for layers followed by a ReLU (He et al. 2015, eq. 14); zero bias."""
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    _zero_bias(module)


def c2_xavier_fill(module: Any) -> None:
    """Uniform weights of variance 1 / fan_in (what Caffe2 calls XavierFill); zero bias."""
    nn.init.kaiming_uniform_(module.weight, a=1)
    _zero_bias(module)


def _zero_bias(module: Any) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
