"""3x3 convolutions on processors with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3).

Lavin & Gray 2016 (arXiv 1509.09308, section 4.1): an output tile of 4 x 4 pixels is A^T [(G g G^T) * (B^T d B)] A, of a
filter g and an input tile d of 6 x 6 pixels, overlapping its neighbours by 2. Summed over channels, the element-wise
product is one matrix product for each of the 36 elements of the transform domain. The transforms, nested in two
dimensions, are matrix products with Kronecker products of B^T, G and A^T.

N images, C channels in and K out (one a filter), P tiles of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

FILTER, OUTPUT_TILE = 3, 4  # r and m of F(m x m, r x r)
INPUT_TILE = OUTPUT_TILE + FILTER - 1
# Interpolation nodes besides infinity. Reciprocals round nearly as a plain convolution; 1 and 2 several times worse.
NODES = (0.0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))
# Measured on two cores with AVX2: with fewer, the transforms cost more than the matrix products save.
MIN_TILES = 64
MIN_CHANNELS, MIN_CHANNELS_WEIGHT_GRADIENT = 128, 64
MAX_BLOCK = 2**22  # numbers of a block in the transform domain: bounds the memory


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d of (N, C, H, W) with filters (K, C, 3, 3) and a padding of 1; what is faster of Winograd and PyTorch.

    Winograd's output has a gradient, but no second one.
    """
    if not _is_faster(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    output: Tensor = _Conv3x3.apply(x, weight, bias)
    return output


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether `_Conv3x3` saves time. PyTorch's own weight gradient is slow where channels come last."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.backends.cpu.get_cpu_capability() == "AVX2"  # where it was measured
        and (_is_large(x, weight, MIN_CHANNELS) or (torch.is_grad_enabled() and weight.requires_grad))
    )


def _is_large(x: Tensor, weight: Tensor, min_channels: int) -> bool:
    count, _, height, width = x.shape
    return min(weight.shape[:2]) >= min_channels and count * height * width >= MIN_TILES * OUTPUT_TILE**2


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x = _input_gradient(x, weight, grad_output) if needs_x else None
        grad_weight = _weight_gradient(x, weight, grad_output) if needs_weight else None
        return grad_x, grad_weight, grad_output.sum((0, 2, 3)) if needs_bias else None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _is_large(x, weight, MIN_CHANNELS):
        return _winograd(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def _input_gradient(x: Tensor, weight: Tensor, grad_output: Tensor) -> Tensor:
    if _is_large(x, weight, MIN_CHANNELS):
        return _winograd(grad_output, weight.flip(2, 3).transpose(0, 1), None)
    # A convolution with turned filters would first lay the weights out anew: longer than all else where maps are small.
    return conv2d_input(x.shape, weight, grad_output, padding=1)


def _weight_gradient(x: Tensor, weight: Tensor, grad_output: Tensor) -> Tensor:
    large = _is_large(x, weight, MIN_CHANNELS_WEIGHT_GRADIENT)
    gradient = (_winograd_weight_gradient if large else _direct_weight_gradient)(x, grad_output)
    gradient = gradient.view(FILTER, FILTER, *weight.shape[:2]).permute(2, 3, 0, 1)
    return gradient.contiguous(memory_format=torch.channels_last)


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    filters, channels = weight.shape[:2]
    transformed = FILTER_TRANSFORM.to(weight.dtype) @ weight.permute(2, 3, 0, 1).reshape(FILTER**2, -1)
    transformed = transformed.view(-1, filters, channels).transpose(1, 2)  # (36, C, K)
    tiles = _Tiles(x, INPUT_TILE, max(filters, channels))
    count, _, height, width = x.shape
    whole_tiles = count, filters, tiles.down * OUTPUT_TILE, tiles.across * OUTPUT_TILE
    output = torch.empty(whole_tiles, dtype=x.dtype, memory_format=torch.channels_last)
    by_tile = output.permute(0, 2, 3, 1).view(count, tiles.down, OUTPUT_TILE, tiles.across, OUTPUT_TILE, filters)
    by_tile = by_tile.transpose(2, 3)
    for images, rows in tiles.blocks():
        inputs = _transform(INPUT_TRANSFORM, tiles.of(images, rows)).transpose(0, 1)  # (36, P, C)
        outputs = _transform(INVERSE_TRANSFORM, torch.bmm(inputs, transformed).transpose(0, 1))  # (P, 16, K)
        if bias is not None:
            outputs += bias
        target = by_tile[images, rows]
        target.copy_(outputs.view(target.shape))
    if output.shape[2:] == x.shape[2:]:
        return output
    # Not a view, which autograd would not let anybody change in place.
    return output[:, :, :height, :width].clone(memory_format=torch.channels_last)


def _winograd_weight_gradient(x: Tensor, grad_output: Tensor) -> Tensor:
    """(9, K * C): the transposed transforms, G^T [sum of (A dY A^T) * (B^T d B) over tiles] G."""
    channels, filters = x.shape[1], grad_output.shape[1]
    most = max(filters, channels)
    input_tiles, output_tiles = _Tiles(x, INPUT_TILE, most), _Tiles(grad_output, OUTPUT_TILE, most)
    summed = x.new_zeros(INPUT_TILE**2, filters, channels)
    for block in input_tiles.blocks():
        outputs = _transform(INVERSE_TRANSFORM.T, output_tiles.of(*block)).permute(1, 2, 0)
        summed.baddbmm_(outputs, _transform(INPUT_TRANSFORM, input_tiles.of(*block)).transpose(0, 1))
    return FILTER_TRANSFORM.T.to(x.dtype) @ summed.flatten(1)


def _direct_weight_gradient(x: Tensor, grad_output: Tensor) -> Tensor:
    """(9, K, C), each of the filter's elements by one matrix product."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    # Zeros at the right and below give the output the input's row length: an element's inputs lie at a fixed offset.
    gradient = F.pad(grad_output.permute(0, 2, 3, 1), (0, 0, 0, FILTER - 1, 0, FILTER - 1)).flatten(0, 2)
    width, inputs = padded.shape[2], padded.flatten(0, 2)
    result = x.new_empty(FILTER**2, grad_output.shape[1], x.shape[1])
    for index, element in enumerate(result):
        offset = index // FILTER * width + index % FILTER
        torch.mm(gradient[: len(gradient) - offset].T, inputs[offset:], out=element)
    return result


class _Tiles:
    """Tiles of `side` x `side` pixels, OUTPUT_TILE apart, of maps (N, C, H, W) padded by zeros; a block at a time.

    A block is some rows of tiles of an image, or some whole images.

    Args:
        most_channels: of all that is held with as many tiles as a block has.
    """

    def __init__(self, maps: Tensor, side: int, most_channels: int) -> None:
        self.maps = maps.permute(0, 2, 3, 1)
        self.margin = (side - OUTPUT_TILE) // 2
        count, height, width, channels = self.maps.shape
        self.down, self.across = -(-height // OUTPUT_TILE), -(-width // OUTPUT_TILE)
        max_rows = max(MAX_BLOCK // (INPUT_TILE**2 * most_channels * self.across), 1)
        self.rows = min(max_rows, self.down)
        self.images = min(max(max_rows // self.down, 1), count)
        sides = (tiles * OUTPUT_TILE + 2 * self.margin for tiles in (self.rows, self.across))
        self.padded = maps.new_zeros(self.images, *sides, channels)
        image, row, column, _ = self.padded.stride()
        self.tiles = self.padded.as_strided(
            (self.images, self.rows, self.across, side, side, channels),
            (image, OUTPUT_TILE * row, OUTPUT_TILE * column, row, column, 1),
        )

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles of each block."""
        for image in range(0, len(self.maps), self.images):
            for row in range(0, self.down, self.rows):
                yield slice(image, image + self.images), slice(row, min(row + self.rows, self.down))

    def of(self, images: slice, rows: slice) -> Tensor:
        """(P, side^2, C)"""
        maps = self.maps[images]
        _, height, width, _ = maps.shape
        first, end = rows.start * OUTPUT_TILE - self.margin, rows.stop * OUTPUT_TILE + self.margin
        above, below = max(first, 0), min(end, height)
        padded = self.padded[: len(maps), : end - first]
        padded[:, : above - first] = 0
        padded[:, below - first :] = 0
        padded[:, above - first : below - first, self.margin : self.margin + width] = maps[:, above:below]
        return self.tiles[: len(maps), : rows.stop - rows.start].flatten(0, 2).flatten(1, 2)


def _transform(matrix: Tensor, tiles: Tensor) -> Tensor:
    """A matrix (Q, R) times each of (P, R, C)."""
    return torch.bmm(matrix.to(tiles.dtype).expand(len(tiles), *matrix.shape), tiles)


def _transforms() -> Iterator[Tensor]:
    """B^T (6 x 6), G (6 x 3) and A^T (4 x 6) of Toom and Cook's construction, each as its Kronecker square."""
    nodes = np.array(NODES)
    others = [np.delete(nodes, index) for index in range(len(nodes))]
    scales = np.array([[np.prod(node - rest)] for node, rest in zip(nodes, others, strict=True)])
    inputs = np.zeros((INPUT_TILE, INPUT_TILE))
    inputs[:-1, :-1] = [np.poly(rest)[::-1] for rest in others]
    inputs[-1] = np.poly(nodes)[::-1]  # infinity's
    filters = np.vstack([np.vander(nodes, FILTER, increasing=True) / scales, np.eye(FILTER)[-1]])
    outputs = np.vstack([np.vander(nodes, OUTPUT_TILE, increasing=True), np.eye(OUTPUT_TILE)[-1]]).T
    for matrix in (inputs, filters, outputs):
        yield torch.from_numpy(np.kron(matrix, matrix))


INPUT_TRANSFORM, FILTER_TRANSFORM, INVERSE_TRANSFORM = _transforms()
