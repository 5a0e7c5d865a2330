"""Dropout that can be active outside training, where a hash of a counter decides what is dropped.

A batch may hold several passes one after the other, as many rows each as there are proposals or detections. Whether an
element is dropped depends on the seed, the image's name, the pass, the layer, the object and the element's place in it
alone: not on what else is in the batch, and not on the device. It is 32-bit integer arithmetic that wraps around, equal
everywhere; nothing is uploaded to a GPU or read from it.

Each use of a layer in a pass has a stream of the counter-based generator SplitMix (Steele, Lea & Flood 2014, "Fast
splittable pseudorandom number generators", section 3), in 32 bits: its word number i is hash(start + i * step), where
`step` is odd. Objects take their words from it one after the other. Start and step are the pass's, combined with those
that SHA-256 gives of seed, image, layer and use. The hash is "lowbias32" (Wellons 2018, "Prospecting for hash
functions").

N: rows of a layer's input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

WORDS_AT_ONCE = 2**18  # on a processor: about what its cache holds; fresh memory costs more than the arithmetic
PASSES = 2**16  # more than there can be


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


def pass_streams(passes: torch.Tensor) -> torch.Tensor:
    """Indices of passes (T,) -> their starts and steps (2, T)."""
    streams = _hash_(torch.stack([passes.int() + PASSES * part for part in (0, 1)]))
    streams[1] |= 1
    return streams


@contextmanager
def active_dropout(
    layers: Sequence[SeededDropout], image_key: str, streams: torch.Tensor, objects: torch.Tensor
) -> Iterator[None]:
    """Inside, the layers drop.

    Args:
        image_key: a text of the image and the seed alone.
        streams: (2, N), those of the pass that a row of the layers' input belongs to (`pass_streams`).
        objects: (N,) int64, index of the row's object among all of that pass.
    """
    start, step = streams[:, :, None]
    for number, layer in enumerate(layers):
        layer.drop_mask = _DropMask(layer.p, f"{number} {image_key}", start, step, objects.int()[:, None])
    try:
        yield
    finally:
        for layer in layers:
            layer.drop_mask = None


@dataclass
class _DropMask:
    """`start`, `step`, `objects`: (N, 1) int32."""

    p: float
    key: str
    start: torch.Tensor
    step: torch.Tensor
    objects: torch.Tensor
    uses: int = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, ...) -> bool, each True with the probability p, to 2^-16. Channels are counted fastest."""
        elements = x[0].numel() if len(x) else 0
        words = -(-elements * bits_of(self.p) // 32)
        dropped = torch.empty(len(x), elements, dtype=torch.bool, device=x.device)
        at_once = max(WORDS_AT_ONCE // max(words, 1), 1) if x.device.type == "cpu" else max(len(x), 1)
        blocks = (one.split(at_once) for one in (dropped, *self._streams(words)))  # type: ignore[no-untyped-call]
        for own, start, step in zip(*blocks, strict=True):
            own.copy_(_bernoulli(_words(start, step, words), self.p)[:, :elements])
        return dropped.view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)

    def _streams(self, words: int) -> tuple[torch.Tensor, torch.Tensor]:
        """start and step (N, 1) of rows of so many words, in the layer's next use."""
        digest = hashlib.sha256(f"{self.uses} {self.key}".encode()).digest()
        self.uses += 1
        own_start, own_step = (int.from_bytes(part, "big", signed=True) for part in (digest[:4], digest[4:8]))
        step = self.step ^ (own_step & -2)
        return torch.addcmul(self.start ^ own_start, step, self.objects, value=words), step


def bits_of(p: float) -> int:
    """How many bits decide on an element: as few as p needs, so that several elements share a byte, or else 16."""
    return next((few for few in (1, 2, 4, 8) if (p * 2**few).is_integer()), 16)


def _words(start: torch.Tensor, step: torch.Tensor, count: int) -> torch.Tensor:
    """(N, count) int32 of streams (N, 1)."""
    return _hash_(torch.addcmul(start, step, torch.arange(count, dtype=torch.int32, device=start.device)))


def _bernoulli(words: torch.Tensor, p: float) -> torch.Tensor:
    """(N, W) int32, which are overwritten -> (N, elements) integers that are 1 with the probability p, else 0."""
    bits = bits_of(p)
    dtype, size = (torch.int8, 8) if bits <= 8 else (torch.int16, 16)
    numbers = words.view(dtype)
    if bits < size:
        # Each element's bits come to the top; those below are too few to lift a number to the limit, or off it.
        shifts = torch.arange(0, size, bits, dtype=dtype, device=words.device)[:, None]
        numbers = (numbers[:, None] << shifts).flatten(1)
    limit = 2 ** (size - 1) - max(round(p * 2**size), 1)
    return numbers.clamp_(limit - 1, limit).sub_(limit - 1)  # many times as fast on a processor as a comparison


def _hash_(x: torch.Tensor) -> torch.Tensor:
    """lowbias32 of int32, in place."""
    x = _xor_shifted_(_xor_shifted_(x, 16).mul_(0x7FEB352D), 15).mul_(0x846CA68B - 2**32)
    return _xor_shifted_(x, 16)


def _xor_shifted_(x: torch.Tensor, bits: int) -> torch.Tensor:
    """The mask clears what the sign was shifted in as, as if the numbers had none."""
    return x.bitwise_xor_((x >> bits).bitwise_and_(2 ** (32 - bits) - 1))
