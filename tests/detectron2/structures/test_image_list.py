"""Batches of padded images."""

from __future__ import annotations

import pytest
import torch

from detectron2.structures import ImageList


def images(*sizes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.rand(size, generator=torch.Generator().manual_seed(i)) + 1 for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "divisibility", "constraints", "expected"),
    [
        ([(3, 10, 20)], 0, None, (1, 3, 10, 20)),
        ([(3, 10, 20)], 32, None, (1, 3, 32, 32)),
        ([(3, 32, 64)], 32, None, (1, 3, 32, 64)),
        ([(3, 10, 20), (3, 15, 7)], 0, None, (2, 3, 15, 20)),
        ([(3, 10, 20), (3, 15, 7)], 8, None, (2, 3, 16, 24)),
        ([(10, 20), (15, 7)], 1, None, (2, 15, 20)),
        ([(3, 10, 20)], 0, {"square_size": 40}, (1, 3, 40, 40)),
        ([(3, 10, 20)], 0, {"square_size": 0}, (1, 3, 10, 20)),
        ([(3, 10, 20), (3, 9, 9)], 16, {"square_size": 20, "size_divisibility": 8}, (2, 3, 24, 24)),
    ],
    ids=["one", "divisible", "already", "two", "both", "no channels", "square", "no square", "both constraints"],
)
def test_padding(sizes, divisibility, constraints, expected) -> None:
    originals = images(*sizes)
    batch = ImageList.from_tensors(originals, divisibility, pad_value=-1, padding_constraints=constraints)
    assert batch.tensor.shape == expected
    assert batch.tensor.is_contiguous()
    assert batch.image_sizes == [size[-2:] for size in sizes]
    for i, original in enumerate(originals):
        assert batch[i].equal(original)
        assert (batch.tensor[i] == -1).sum() == batch.tensor[i].numel() - original.numel()


@pytest.mark.parametrize(
    ("sizes", "constraints", "message"),
    [
        ([], None, "no images"),
        ([(3, 4, 4), (1, 4, 4)], None, "differ in channels"),
        ([(3, 10, 20)], {"square_size": 16}, "10 x 20 does not fit"),
    ],
    ids=["none", "channels", "too large"],
)
def test_refusals(sizes, constraints, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageList.from_tensors(images(*sizes), padding_constraints=constraints)


def test_moves_and_length() -> None:
    batch = ImageList.from_tensors(images((3, 4, 5), (3, 6, 2)))
    assert len(batch) == 2
    half = batch.to(torch.float16)
    assert half.tensor.dtype is torch.float16
    assert half.image_sizes == batch.image_sizes
    assert batch.to(device="meta").device.type == "meta"


def test_gradients_reach_the_images() -> None:
    originals = [image.requires_grad_() for image in images((3, 4, 5), (3, 6, 2))]
    ImageList.from_tensors(originals, 8).tensor.sum().backward()
    assert all(image.grad.equal(torch.ones_like(image)) for image in originals)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("traced", "others"),
    [
        ([(3, 10, 10)], [(3, 15, 20)]),
        ([(3, 12, 12)], [(3, 15, 20)]),
        ([(10, 10)], [(15, 20)]),
        ([(3, 16, 10), (3, 13, 11)], [(3, 5, 20), (3, 10, 10)]),
    ],
    ids=["padded", "not padded", "without channels", "two"],
)
def test_a_trace_holds_for_other_sizes(traced: list, others: list) -> None:
    def batched(images: list[torch.Tensor]) -> tuple:
        batch = ImageList.from_tensors(images, 4, pad_value=7.0)
        return batch.tensor, batch.image_sizes

    trace = torch.jit.trace(batched, ([torch.rand(shape) for shape in traced],))
    images = [torch.rand(shape) for shape in others]
    tensor, sizes = trace(images)
    assert torch.equal(tensor, batched(images)[0])
    assert [tuple(size.tolist()) for size in sizes] == [shape[-2:] for shape in others]
