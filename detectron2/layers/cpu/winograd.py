"""3x3 convolutions on a processor with a quarter of the multiplications.

Winograd's way, F(4x4, 3x3) of Lavin & Gray 2016 (arXiv:1509.09308, section 4): tiles of 6 x 6 pixels and kernels are
brought to 36 points each, where a convolution is one product a point; from these come output tiles of 4 x 4 pixels.
Here each step is a matrix product. N maps, C channels in and O out, T tiles in a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

KERNEL, STEP = 3, 4
TILE = STEP + KERNEL - 1
# Where polynomials are multiplied. Reciprocals round nearly as a plain convolution; 1 and 2 err several times as much.
POINTS = (0.0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))
# Measured on two cores with AVX2: with less to do, bringing tiles and kernels there and back costs more than it saves.
FEWEST_TILES = 64
FEWEST_CHANNELS, FEWEST_CHANNELS_OF_WEIGHTS = 128, 64  # the latter for the weights' gradient
AT_ONCE = 2**22  # bound of memory: numbers of a block at its points


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` saves time. PyTorch's own is slow at gradients of weights when channels come last."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.backends.cpu.get_cpu_capability() == "AVX2"  # where it was measured
        and (_is_large(x, weight, FEWEST_CHANNELS) or (torch.is_grad_enabled() and weight.requires_grad))
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d of (N, C, H, W) with weights (O, C, 3, 3) and a padding of 1, with its gradients (but none of those)."""
    output: Tensor = _Convolution.apply(x, weight, bias)
    return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = _convolved(of_output, weight.flip(2, 3).transpose(0, 1), None) if needs_x else None
        of_weight = _weight_gradient(x, weight, of_output) if needs_weight else None
        return of_x, of_weight, of_output.sum((0, 2, 3)) if needs_bias else None


def _is_large(x: Tensor, weight: Tensor, fewest_channels: int) -> bool:
    count, _, height, width = x.shape
    return min(weight.shape[:2]) >= fewest_channels and count * height * width >= FEWEST_TILES * STEP**2


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _is_large(x, weight, FEWEST_CHANNELS):
        return _by_points(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def _weight_gradient(x: Tensor, weight: Tensor, of_output: Tensor) -> Tensor:
    large = _is_large(x, weight, FEWEST_CHANNELS_OF_WEIGHTS)
    found = _weight_gradient_by_points(x, of_output) if large else _weight_gradient_by_taps(x, of_output)
    return (
        found.view(KERNEL, KERNEL, *weight.shape[:2]).permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
    )


def _by_points(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outs, channels = weight.shape[:2]
    kernels = KERNELS.to(weight.dtype) @ weight.permute(2, 3, 0, 1).reshape(KERNEL**2, -1)
    kernels = kernels.view(-1, outs, channels).transpose(1, 2)
    tiles = _Tiles(x, TILE, max(outs, channels))
    count, _, height, width = x.shape
    rounded = count, outs, tiles.down * STEP, tiles.across * STEP
    output = torch.empty(rounded, dtype=x.dtype, memory_format=torch.channels_last)
    by_tile = output.permute(0, 2, 3, 1).view(count, tiles.down, STEP, tiles.across, STEP, outs).transpose(2, 3)
    for images, rows in tiles.blocks():
        points = _changed(INPUTS, tiles.of(images, rows)).transpose(0, 1)
        found = _changed(OUTPUTS, torch.bmm(points, kernels).transpose(0, 1))
        if bias is not None:
            found += bias
        target = by_tile[images, rows]
        target.copy_(found.view(target.shape))
    if output.shape[2:] == x.shape[2:]:
        return output
    # Not a view, which autograd would not let anybody change in place.
    return output[:, :, :height, :width].clone(memory_format=torch.channels_last)


def _weight_gradient_by_points(x: Tensor, of_output: Tensor) -> Tensor:
    """(9, O * C)"""
    channels, outs = x.shape[1], of_output.shape[1]
    most = max(outs, channels)
    seen, asked = _Tiles(x, TILE, most), _Tiles(of_output, STEP, most)
    found = x.new_zeros(TILE**2, outs, channels)
    for block in seen.blocks():
        of_points = _changed(OUTPUTS.T, asked.of(*block)).permute(1, 2, 0)
        found.baddbmm_(of_points, _changed(INPUTS, seen.of(*block)).transpose(0, 1))
    return KERNELS.T.to(x.dtype) @ found.flatten(1)


def _weight_gradient_by_taps(x: Tensor, of_output: Tensor) -> Tensor:
    """(9, O, C), each of the kernel's taps by one matrix product."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    # Zeros at the right and below put outputs on the grid of inputs: there, what a tap saw is a fixed way ahead.
    gradient = F.pad(of_output.permute(0, 2, 3, 1), (0, 0, 0, KERNEL - 1, 0, KERNEL - 1)).flatten(0, 2)
    width, seen = padded.shape[2], padded.flatten(0, 2)
    found = x.new_empty(KERNEL**2, of_output.shape[1], x.shape[1])
    for tap, of_tap in enumerate(found):
        ahead = tap // KERNEL * width + tap % KERNEL
        torch.mm(gradient[: len(gradient) - ahead].T, seen[ahead:], out=of_tap)
    return found


class _Tiles:
    """Tiles of `side` pixels a side, STEP apart, of maps (N, C, H, W) amid zeros; a block of them at a time.

    A block is some rows of tiles of an image, or some whole images.

    Args:
        most_channels: of all that is held with as many tiles as a block has.
    """

    def __init__(self, maps: Tensor, side: int, most_channels: int) -> None:
        self.maps = maps.permute(0, 2, 3, 1)
        self.margin = (side - STEP) // 2
        count, height, width, channels = self.maps.shape
        self.down, self.across = -(-height // STEP), -(-width // STEP)
        rows_at_once = max(AT_ONCE // (TILE**2 * most_channels * self.across), 1)
        self.rows = min(rows_at_once, self.down)
        self.images = min(max(rows_at_once // self.down, 1), count)
        self.padded = maps.new_zeros(
            self.images, self.rows * STEP + 2 * self.margin, self.across * STEP + 2 * self.margin, channels
        )
        of_image, of_row, of_column, _ = self.padded.stride()
        self.tiles = self.padded.as_strided(
            (self.images, self.rows, self.across, side, side, channels),
            (of_image, STEP * of_row, STEP * of_column, of_row, of_column, 1),
        )

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles of each block."""
        for image in range(0, len(self.maps), self.images):
            for row in range(0, self.down, self.rows):
                yield slice(image, image + self.images), slice(row, min(row + self.rows, self.down))

    def of(self, images: slice, rows: slice) -> Tensor:
        """(T, side^2, C)"""
        maps = self.maps[images]
        _, height, width, _ = maps.shape
        first, end = rows.start * STEP - self.margin, rows.stop * STEP + self.margin
        above, below = max(first, 0), min(end, height)
        padded = self.padded[: len(maps), : end - first]
        padded[:, : above - first] = 0
        padded[:, below - first :] = 0
        padded[:, above - first : below - first, self.margin : self.margin + width] = maps[:, above:below]
        return self.tiles[: len(maps), : rows.stop - rows.start].flatten(0, 2).flatten(1, 2)


def _changed(matrix: Tensor, tiles: Tensor) -> Tensor:
    """A matrix (P, Q) times each of (T, Q, C)."""
    return torch.bmm(matrix.to(tiles.dtype).expand(len(tiles), *matrix.shape), tiles)


def _matrices() -> Iterator[Tensor]:
    """What brings input tiles to points, kernels to points, and points to output tiles: 36 x 36, 36 x 9, 16 x 36.

    Along one side it is the way of Toom and Cook: values of the polynomials at POINTS and, last, at infinity.
    """
    points = np.array(POINTS)
    others = [np.delete(points, index) for index in range(len(points))]
    scales = np.array([[np.prod(point - rest)] for point, rest in zip(points, others, strict=True)])
    inputs = np.zeros((TILE, TILE))
    inputs[:-1, :-1] = [np.poly(rest)[::-1] for rest in others]
    inputs[-1] = np.poly(points)[::-1]
    kernels = np.vstack([np.vander(points, KERNEL, increasing=True) / scales, np.eye(KERNEL)[-1]])
    outputs = np.vstack([np.vander(points, STEP, increasing=True), np.eye(STEP)[-1]]).T
    for side in (inputs, kernels, outputs):
        yield torch.from_numpy(np.kron(side, side))


INPUTS, KERNELS, OUTPUTS = _matrices()
