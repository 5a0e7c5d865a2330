"""Monte-Carlo dropout: what the network sees in an image in T passes with its dropout layers active.

Backbone, proposals and pooled box features do not depend on dropout, so they are computed once an image; box head,
suppression and mask head run T times, several passes in one batch (Gal & Ghahramani 2016; Blok et al. 2022).

T: passes. R: proposals. n: detections of one pass. K: foreground classes. H, W: height, width of the image file.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network.dropout_heads import SeededDropout
from active_learning.network.prediction import read_input
from active_learning.sampling.look import Look
from active_learning.sampling.observations import read_passes
from detectron2.config import CfgNode
from detectron2.modeling import detector_postprocess
from detectron2.structures import Instances

Features: TypeAlias = Mapping[str, torch.Tensor]
Passes: TypeAlias = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

# Bounds of memory. They must not depend on the machine: the batches decide which random numbers a pass draws.
BOX_FEATURES_AT_ONCE = 2**25  # numbers that enter the box head: 128 MiB in float32
MASKS_AT_ONCE = 256  # detections that enter the mask head


class MonteCarloDropout:
    """Looks at an image `passes` times; what is drawn depends on `seed` and the image's name alone.

    Raises:
        MaskALError: the network has no dropout layer, so that all passes would be equal.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode, *, passes: int, seed: int) -> None:
        self.model: Any = model.eval()
        self.cfg = cfg
        self.passes = passes
        self.seed = seed
        # Runs in worker processes: it must not carry the network along.
        self.read: Callable[[Path], dict[str, Any]] = functools.partial(read_input, cfg=cfg)
        self.layers = [layer for layer in model.modules() if isinstance(layer, SeededDropout)]
        if not self.layers:
            raise MaskALError(
                f"the network has no dropout layer (its heads are {type(getattr(model, 'roi_heads', None)).__name__}), "
                "so it cannot disagree with itself; build it from network_config(), which puts dropout into the heads"
            )

    @torch.no_grad()
    def __call__(self, path: Path, name: str) -> Passes:
        """The detections of each pass, in order of falling score.

        Args:
            path: the image file.
            name: what the random draws depend on, beside the seed.

        Returns:
            T tuples (masks (n, H, W) bool, boxes (n, 4) float (x0, y0, x1, y1) in pixels of the file,
            probabilities (n, K) float), on the model's device; n differs from pass to pass.

        Raises:
            MaskALError: the file is no image that can be read.
        """
        inputs = read_input(path, self.cfg)
        features, proposals = self._trunk(inputs)
        with self._dropout_active(name):
            detections = self._add_masks(features, self._detect(features, proposals))
        return [_at_full_size(found, inputs["height"], inputs["width"]) for found in detections]

    @torch.no_grad()
    def look(self, inputs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Look]:
        """What each of several images shows; an image's look does not depend on the others.

        Args:
            inputs: name of the image (what the random draws depend on, beside the seed) and what `read` gave.
        """
        return [self._look(name, given) for name, given in inputs]

    def _look(self, name: str, inputs: Mapping[str, Any]) -> Look:
        features, proposals = self._trunk(inputs)
        with self._dropout_active(name):
            detections = self._add_masks(features, self._detect(features, proposals))
        passes = read_passes([_at_full_size(found, inputs["height"], inputs["width"]) for found in detections])
        coarsest = features[self.model.roi_heads.in_features[-1]]
        described = coarsest.mean(dim=(0, 2, 3)).float().cpu().numpy()
        return Look(tuple(tuple(one_pass) for one_pass in passes), described, inputs["height"], inputs["width"])

    @contextmanager
    def _dropout_active(self, name: str) -> Iterator[None]:
        generator = torch.Generator(device=next(self.model.parameters()).device)
        generator.manual_seed(_stable_seed(self.seed, name))
        for layer in self.layers:
            layer.generator = generator
        try:
            yield
        finally:
            for layer in self.layers:
                layer.generator = None

    def _trunk(self, inputs: Mapping[str, torch.Tensor]) -> tuple[Features, Instances]:
        """What comes before the heads: feature maps and the image's proposals."""
        images = self.model.preprocess_image([inputs])
        features = self.model.backbone(images.tensor)
        proposals, _ = self.model.proposal_generator(images, features, None)
        return features, proposals[0]

    def _detect(self, features: Features, proposals: Instances) -> list[Instances]:
        """T times what the box head detects; coordinates of the network's input."""
        heads = self.model.roi_heads
        pooled = heads.box_pooler([features[level] for level in heads.box_in_features], [proposals.proposal_boxes])
        at_once = max(BOX_FEATURES_AT_ONCE // max(pooled.numel(), 1), 1)
        detections: list[Instances] = []
        while len(detections) < self.passes:
            count = min(at_once, self.passes - len(detections))
            predictions = heads.box_predictor(heads.box_head(pooled.repeat(count, 1, 1, 1)))
            # The predictor takes each pass for an image of a batch.
            found, _ = heads.box_predictor.inference(predictions, [proposals] * count)
            detections += found
        return detections

    def _add_masks(self, features: Features, detections: Sequence[Instances]) -> list[Instances]:
        """The same detections with `pred_masks` (n, 1, S, S), each drawn for itself."""
        everything = Instances.cat(list(detections))
        if not len(everything):
            return list(detections)
        parts = [
            self.model.roi_heads.forward_with_given_boxes(features, [everything[start : start + MASKS_AT_ONCE]])[0]
            for start in range(0, len(everything), MASKS_AT_ONCE)
        ]
        everything, first, with_masks = Instances.cat(parts), 0, []
        for found in detections:
            with_masks.append(everything[first : first + len(found)])
            first += len(found)
        return with_masks


def _stable_seed(seed: int, name: str) -> int:
    """The same on every machine and in every process, which `hash` is not."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1


def _at_full_size(found: Instances, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """masks, boxes, probabilities of one pass in pixels of the file."""
    full = detector_postprocess(found, height, width)
    boxes = full.pred_boxes.tensor
    masks = full.pred_masks if len(full) else boxes.new_zeros((0, height, width), dtype=torch.bool)
    return masks, boxes, full.softmaxes
