from __future__ import annotations

import weakref

import pytest
import torch

from active_learning.errors import MaskALError
from active_learning.network.batch_inference import detect_batch
from active_learning.network.image_batches import ImageInput


class SmallMemory:
    """Stands for a model on a GPU that holds `room` images."""

    def __init__(self, room: int, words: str = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED") -> None:
        self.room, self.words, self.calls = room, words, []
        self.made: list[weakref.ref] = []

    def inference(self, batch, do_postprocess):
        self.calls.append(len(batch))
        assert not any(made() is not None for made in self.made)  # nothing of a failed batch is held
        features = torch.zeros(1)
        self.made.append(weakref.ref(features))
        if len(batch) > self.room:
            raise RuntimeError(self.words)
        return [one["number"] for one in batch]


def test_too_large_a_batch_goes_image_by_image():
    batch = [ImageInput(str(number), {"number": number}) for number in range(3)]
    model = SmallMemory(1)
    assert detect_batch(model, batch) == [0, 1, 2]
    assert model.calls == [3, 1, 1, 1]


def test_an_image_too_large_for_the_memory_is_named():
    with pytest.raises(MaskALError, match=r"big\.png: the GPU's memory is too small"):
        detect_batch(SmallMemory(0), [ImageInput("big.png", {})])


def test_a_gpu_without_code_is_named_beside_too_small_a_memory():
    model = SmallMemory(0, "GET was unable to find an engine to execute this computation")
    with pytest.raises(MaskALError, match=r"too small for this image, or this PyTorch has no code .*; lower .*GET was"):
        detect_batch(model, [ImageInput("big.png", {})])
