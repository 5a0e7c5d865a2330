"""What describes an image: the mean of each channel of the feature maps that the heads take. No object is detected.

C: channels of all these maps together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from active_learning.network import dropout_heads  # noqa: F401  (registers the heads)
from active_learning.network.inference_copy import inference_copy
from active_learning.network.model_input import TileInputs, seen_size, tile_name
from active_learning.network.precision import use_exact_float32
from active_learning.network.training_failures import GO_ON, inference_remedy, memory_shortage_named
from active_learning.network.weights_files import backbone_filled
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.memory import none_if_cuda_oom


def start_network(cfg: CfgNode, weights: str) -> nn.Module:
    """The network with the weights that a first training starts from; what the file lacks is random, always the same.

    Args:
        weights: path or address; "" for none, so that all is random.

    Raises:
        MaskALError: they cannot be read, or are of another network.
    """
    use_exact_float32()
    seed_all_rng(0)
    model = build_model(cfg)
    with backbone_filled(model, weights):
        DetectionCheckpointer(model).load(weights)
    return model.eval()


class ImageFeatures:
    """Features of images, one image at a time: they depend on its neighbours no more than certainties do."""

    def __init__(self, model: nn.Module, cfg: CfgNode) -> None:
        self._model = inference_copy(model, half=False)
        self._cfg = cfg

    def __call__(self, name: str, model_input: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """(C,) as ForwardPasses.features.

        Args:
            model_input: of the image `name` (`read_input`).

        Raises:
            MaskALError: the GPU's memory is too small for it.
        """
        if "tiles" in model_input:
            return self._of_tiles(name, model_input["tiles"])
        found = none_if_cuda_oom(self._features, model_input)
        if found is not None:
            return found
        too_small = f"{name}: the GPU's memory is too small for choosing the initial images"
        remedy = f". In MaskAL's settings: {inference_remedy(self._cfg)}, or set initial_choice: random. {GO_ON}"
        with memory_shortage_named(too_small, remedy):
            return self._features(model_input)

    def _of_tiles(self, name: str, inputs: TileInputs) -> npt.NDArray[np.float32]:
        return mean_of_tiles([self(tile_name(name, one.tile, inputs.tiles), one.content) for one in inputs], inputs)

    @torch.no_grad()
    def _features(self, model_input: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        images = self._model.preprocess_image([model_input])
        pixels = images.tensor.to(memory_format=torch.channels_last)
        features = self._model.backbone(pixels)
        maps = [features[name] for name in self._model.roi_heads.in_features]
        means: npt.NDArray[np.float32] = channel_means(maps, seen_size(model_input), pixels.shape[-2:]).cpu().numpy()
        return means


def mean_of_tiles(features: Sequence[npt.NDArray[np.float32]], inputs: TileInputs) -> npt.NDArray[np.float32]:
    """(C,) of each tile -> (C,) of the image: tiles count by what of them is image."""
    areas = [tile.visible_area(inputs.height, inputs.width) for tile in inputs.tiles]
    mean: npt.NDArray[np.float32] = np.average(np.stack(features), axis=0, weights=areas).astype(np.float32)
    return mean


def channel_means(maps: Iterable[torch.Tensor], image_size: tuple[int, int], padded: torch.Size) -> torch.Tensor:
    """(C,) means over the image, without its padding, of the channels of each map (1, C, H, W), one after the other."""
    means = []
    for features in maps:
        height, width = (math.ceil(s * f / p) for s, f, p in zip(image_size, features.shape[-2:], padded, strict=True))
        pixels = features[0].permute(1, 2, 0)[:height, :width]  # with channels last, rows add up fastest
        means.append(pixels.mean(0, dtype=torch.float32).mean(0))
    return torch.cat(means)
