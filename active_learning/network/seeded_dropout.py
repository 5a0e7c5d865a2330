"""Dropout that can be active outside training, with random generators of its own.

A batch may hold several passes one after the other, as many rows each as there are proposals or detections. What is
dropped of a row depends on the seed, the image's name, the pass, the layer and the row's place in the pass alone: not
on how many passes share a batch, nor on how many rows come after it (on a CPU; CUDA's generators heed these).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


class SeededDropout(nn.Dropout):
    """nn.Dropout that can be active outside training too (Gal & Ghahramani 2016); see `active_dropout`.

    Attributes:
        drop_mask: outside `active_dropout` None; else input -> bool of its shape, True where it is to be dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.drop_mask: Callable[[torch.Tensor], torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.drop_mask is None or self.p == 0:
            return super().forward(x)
        # The clone keeps the memory order, which masked_fill alone does not.
        return x.clone().masked_fill_(self.drop_mask(x), 0.0).mul_(1 / (1 - self.p))


class PassGenerators:
    """The random generators of all passes over one image: the same on every machine, in every process."""

    def __init__(self, seed: int, name: str, device: torch.device) -> None:
        self.source = f"{seed} {name}"
        self.device = device
        self.generators: dict[tuple[int, int, int], torch.Generator] = {}

    def generator(self, pass_index: int, layer: int, call: int) -> torch.Generator:
        """That of one use of a layer in a pass; it goes on where the rows before ended."""
        place = (pass_index, layer, call)
        if place not in self.generators:
            digest = hashlib.sha256(f"{place} {self.source}".encode()).digest()
            generator = torch.Generator(device=self.device)
            self.generators[place] = generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return self.generators[place]


@contextmanager
def active_dropout(
    layers: Sequence[SeededDropout], generators: PassGenerators, passes: Sequence[int], rows: Sequence[int]
) -> Iterator[None]:
    """Inside, the layers drop: their input holds rows[0] rows of the pass with index passes[0], and so on."""
    for number, layer in enumerate(layers):
        layer.drop_mask = _DropMask(layer.p, generators, number, passes, rows)
    try:
        yield
    finally:
        for layer in layers:
            layer.drop_mask = None


@dataclass
class _DropMask:
    p: float
    generators: PassGenerators
    layer: int
    passes: Sequence[int]
    rows: Sequence[int]
    calls: int = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Each True with the probability p, to 2^-17.

        Random numbers dominate the cost of dropout, so an activation gets no more bits than p needs: 8, or else 16.
        """
        bits, dtype = (8, torch.int8) if (self.p * 2**8).is_integer() else (16, torch.int16)
        numbers = torch.empty(x.numel(), dtype=dtype, device=x.device)
        sizes = [count * (x.numel() // max(len(x), 1)) for count in self.rows]
        for own, index in zip(torch.split(numbers, sizes), self.passes, strict=True):
            words = torch.empty(math.ceil(len(own) * bits / 64), dtype=torch.int64, device=x.device)
            words.random_(-(2**63), None, generator=self.generators.generator(index, self.layer, self.calls))
            own.copy_(words.view(dtype)[: len(own)])
        self.calls += 1
        return _laid_out_as(x, numbers < round(self.p * 2**bits) - 2 ** (bits - 1))


def _laid_out_as(x: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """`flat` in the shape of `x`; two tensors of different memory orders are slow to combine."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = x.shape
        return flat.view(n, h, w, c).permute(0, 3, 1, 2)
    return flat.view(x.shape)
