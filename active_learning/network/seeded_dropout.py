"""Dropout that can be active outside training, drawn from generators of our own.

A batch may hold several passes one after the other. Each pass has its own generator, so what a pass draws does not
depend on how many passes share a batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class SeededDropout(nn.Dropout):
    """nn.Dropout that, given generators, is active outside training too and draws from them (Gal & Ghahramani 2016).

    Attributes:
        generators: one a pass; empty outside `active_dropout`.
        rows: how many rows of the input, one pass after the other, each of them draws for.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.generators: Sequence[torch.Generator] = ()
        self.rows: Sequence[int] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.generators or self.p == 0:
            return super().forward(x)
        out = x.clone()
        for part, generator in zip(out.split(list(self.rows)), self.generators, strict=True):
            part.masked_fill_(_dropped(part, self.p, generator), 0.0)
        return out.mul_(1 / (1 - self.p))


@contextmanager
def active_dropout(
    layers: Iterable[SeededDropout], generators: Sequence[torch.Generator], rows: Sequence[int]
) -> Iterator[None]:
    """Inside, the layers drop: the first rows[0] rows of their input by generators[0], and so on."""
    layers = list(layers)
    for layer in layers:
        layer.generators, layer.rows = generators, rows
    try:
        yield
    finally:
        for layer in layers:
            layer.generators, layer.rows = (), ()


def pass_generators(passes: int, seed: int, name: str, device: torch.device) -> list[torch.Generator]:
    """A generator for each pass over the image `name`: the same on every machine, in every process."""
    generators = [torch.Generator(device=device) for _ in range(passes)]
    for index, generator in enumerate(generators):
        digest = hashlib.sha256(f"{seed} {index} {name}".encode()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return generators


def _dropped(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    """Bool of the shape of `x`, each True with probability p (to 2^-17).

    Drawing dominates the cost of dropout, so an activation gets no more bits than p needs: 8, or else 16.
    """
    bits, dtype = (8, torch.int8) if (p * 2**8).is_integer() else (16, torch.int16)
    words = torch.empty(math.ceil(x.numel() * bits / 64), dtype=torch.int64, device=generator.device)
    drawn = words.random_(-(2**63), None, generator=generator).view(dtype)[: x.numel()]
    return _laid_out_as(x, drawn < round(p * 2**bits) - 2 ** (bits - 1))


def _laid_out_as(x: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """`flat` in the shape of `x`; two tensors of different memory orders are slow to combine."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = x.shape
        return flat.view(n, h, w, c).permute(0, 3, 1, 2)
    return flat.view(x.shape)
