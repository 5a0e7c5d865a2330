"""Prediction with a trained network, one image at a time, at full resolution."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network import dropout_heads  # noqa: F401  (registers the heads)
from active_learning.network.model_input import TileInputs, is_tiled, network_input
from active_learning.network.precision import use_exact_float32
from active_learning.network.weights_files import CLASSES, UNREADABLE, check_classes, missing_weights
from active_learning.system.image_files import image_error
from active_learning.system.pixel_limit import pixel_limit
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.modeling import build_model
from detectron2.structures import Instances

# Of decoders; Pillow: SyntaxError for a broken header.
IMAGE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


def load_network(cfg: CfgNode, weights: Path | str, classes: Sequence[str] = ()) -> nn.Module:
    """The network of the config with these weights, for inference.

    Args:
        weights: a file, or an address of published weights, which are fetched once.
        classes: as `load_all_weights` takes them.

    Raises:
        MaskALError: there is no such file, it cannot be read, or its weights are not those of such a network.
        SettingsError: they were trained on other classes.
    """
    path = os.fspath(weights)
    if not (Path(path).is_file() or "://" in path):
        raise MaskALError(f"{path}: there is no such weights file; train first, or correct the path")
    use_exact_float32()
    model = build_model(cfg)
    load_all_weights(model, path, classes)
    return model.eval()


def load_all_weights(model: nn.Module, path: str, classes: Sequence[str] = ()) -> None:
    """Loads a weights file that must have every weight of the model.

    Args:
        classes: names that a person gave, in order; none where those of the file are not to be compared.

    Raises:
        MaskALError: it cannot be read, or weights are missing or of another shape.
        SettingsError: it was trained on other classes, or on these in another order.
    """
    try:
        with missing_weights(model) as missing:
            rest = DetectionCheckpointer(model).load(path)
    except UNREADABLE as error:
        reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise MaskALError(f"{path}: cannot be read as weights: {reason}") from error
    if classes:
        check_classes(path, rest.get(CLASSES), classes)
    untrained = [name for name, _ in model.named_parameters() if name in missing]
    if untrained:
        raise MaskALError(
            f"{path}: does not fit the network: {len(untrained)} weights are missing or of another shape, such as "
            f"{untrained[-1]}; give the network config and the classes that it was trained with"
        )


def read_input(path: Path, cfg: CfgNode) -> dict[str, Any]:
    """The model's input: `image` (3, h, w) uint8, resized as for testing, `height` and `width` of the file in pixels.

    Where the network sees images tile by tile, `tiles`, a `TileInputs`, stands in the place of `image`.

    Raises:
        MaskALError: the file is no image that can be read.
    """
    if is_tiled(cfg):
        return TileInputs(path, cfg).content()
    most_pixels = cfg.INPUT.get("MAX_PIXELS")
    with _decoder_errors_explained(path, most_pixels):
        return network_input(detection_utils.read_image(os.fspath(path), format=cfg.INPUT.FORMAT), cfg)


def read_picture(path: Path, most_pixels: int) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) blue, green, red, in its own size; raises MaskALError as `read_input`."""
    with _decoder_errors_explained(path, most_pixels):
        return np.asarray(detection_utils.read_image(os.fspath(path), format="BGR"), dtype=np.uint8)


@contextmanager
def _decoder_errors_explained(path: Path, most_pixels: int | None) -> Iterator[None]:
    try:
        with pixel_limit(most_pixels):
            yield
    except IMAGE_ERRORS as error:
        reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise image_error(path, reason, most_pixels) from error


def picture_of(model_input: Mapping[str, Any], cfg: CfgNode) -> npt.NDArray[np.uint8]:
    """The image of `read_input` as (h, w, 3) red, green, blue."""
    pixels = model_input["image"].numpy().transpose(1, 2, 0).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1] if cfg.INPUT.FORMAT == "BGR" else pixels)


@torch.no_grad()
def detect(model: nn.Module, model_input: Mapping[str, Any]) -> Instances:
    """Detections in the image of `read_input` in order of falling score, in pixels of the file: pred_boxes, scores,
    pred_classes, pred_masks (n, H, W) bool, softmaxes (n, K)."""
    if model.training:
        model.eval()
    found: Instances = model([model_input])[0]["instances"]
    return found
