"""Monte-Carlo dropout: what the network sees in an image in T passes with its dropout layers active.

Backbone, proposals and pooled box features do not depend on dropout, so they are computed once an image; box head,
suppression and mask head run T times, several passes in one batch (Gal & Ghahramani 2016; Blok et al. 2022). Proposals
that dropout cannot lift above the confidence threshold are left out of the passes (promising.py).

An image's look depends on the weights, the settings, the seed and its name alone, to the last bit. So images are not
batched: batched convolutions round otherwise than single ones, and neighbours of other sizes change the padding.

T: passes. R: proposals. n: detections. K: foreground classes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network.detection_crops import cut_detections
from active_learning.network.dropout_heads import Features, RepeatedHeads
from active_learning.network.inference_copy import half_type, inference_copy
from active_learning.network.prediction import read_input
from active_learning.network.proposal_screening import log_odds, noise, promising
from active_learning.network.seeded_dropout import Draws, SeededDropout, active_dropout
from active_learning.sampling.forward_passes import Look
from active_learning.sampling.observations import Detection, Member
from active_learning.system.log import logger
from detectron2.config import CfgNode
from detectron2.structures import Instances

# Bounds of memory. What a pass draws does not depend on how many passes share a batch.
BOX_FEATURES_AT_ONCE = 2**23  # numbers that enter the box head: 32 MiB in float32
MASKS_AT_ONCE = 128  # detections that enter the mask head
# So many of the best proposals tell how much noise dropout makes; a proposal that would need more than MARGIN times
# that noise to reach the threshold is left out. Were the noise normal, one draw in 30,000 would be larger.
PILOT = 64
MARGIN = 4.0


class MonteCarloDropout:
    """Looks at images `passes` times.

    Args:
        model: from the config; it is copied, so what is trained later does not show.
        cfg: with SOLVER.AMP.ENABLED the network calculates in 16 bits.
        seed: what is drawn depends on it and the image's name alone.
        margin: see MARGIN; None computes every proposal in every pass.

    Raises:
        MaskALError: the network has no dropout layer, so that all passes would be equal.
    """

    def __init__(
        self, model: nn.Module, cfg: CfgNode, *, passes: int, seed: int, margin: float | None = MARGIN
    ) -> None:
        if not any(isinstance(layer, SeededDropout) for layer in model.modules()):
            raise MaskALError(
                f"the network has no dropout layer (its heads are {type(getattr(model, 'roi_heads', None)).__name__}), "
                "so it cannot disagree with itself; build it from network_config(), which puts dropout into the heads"
            )
        self.passes = passes
        self.seed = seed
        self.margin = margin
        self.model = inference_copy(model, half=cfg.SOLVER.AMP.ENABLED)
        self.heads: Any = self.model.roi_heads
        self.layers = [layer for layer in self.model.modules() if isinstance(layer, SeededDropout)]
        self.device = next(self.model.parameters()).device
        self.dtype = half_type(self.device) if cfg.SOLVER.AMP.ENABLED else torch.float32
        self.at_once = passes  # at most so many share a batch
        # Runs in worker processes: it must not carry the network along.
        self.read: Callable[[Path], dict[str, Any]] = functools.partial(read_input, cfg=cfg)

    @torch.no_grad()
    def look(self, inputs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Look]:
        """What each image shows; detections are in pixels of its file.

        Args:
            inputs: name of the image (what the random draws depend on, beside the seed) and what `read` gave for it.
        """
        return [self._look(name, given) for name, given in inputs]

    def _look(self, name: str, given: Mapping[str, Any]) -> Look:
        """Where the GPU's memory does not suffice, with fewer passes at once, from then on."""
        while True:
            try:
                return self._look_once(name, given)
            except torch.cuda.OutOfMemoryError:
                if self.at_once == 1:
                    raise
            torch.cuda.empty_cache()
            if self.at_once == self.passes:
                logger.warning("The GPU's memory is short: sampling goes on with fewer passes at once, and slower")
            self.at_once //= 2

    def _look_once(self, name: str, given: Mapping[str, Any]) -> Look:
        features, proposals, described = self._trunk(given)
        draws = Draws(self.seed, name, self.device)
        found = self._detect(features, proposals, draws)
        passes: list[list[Detection]] = [[] for _ in range(self.passes)]
        for index, detection in self._add_masks(features, found, draws, given["height"], given["width"]):
            passes[index].append(detection)
        return Look(tuple(tuple(one_pass) for one_pass in passes), described, given["height"], given["width"])

    def _trunk(self, given: Mapping[str, Any]) -> tuple[Features, Instances, npt.NDArray[np.float32]]:
        """What comes before the heads: feature maps, the image's proposals, and Look.features."""
        images = self.model.preprocess_image([given])
        pixels = images.tensor.to(self.dtype, memory_format=torch.channels_last)
        features = self.model.backbone(pixels)
        proposals, _ = self.model.proposal_generator(images, features, None)
        features = {name: features[name] for name in self.heads.in_features}
        if self.device.type != "cpu":
            # Pooling reads them channel by channel there; so they are laid out anew once and not in every call.
            features = {name: one.contiguous() for name, one in features.items()}
        return features, proposals[0], _describe(features.values(), images.image_sizes[0], pixels.shape[-2:])

    def _detect(self, features: Features, proposals: Instances, draws: Draws) -> list[Instances]:
        """T times what the box head detects; coordinates of the network's input."""
        heads: RepeatedHeads = self.heads
        pooled = heads.box_features(features, proposals.proposal_boxes)
        plain = log_odds(heads.classify(features, pooled, proposals)[1])
        order = plain.argsort(descending=True, stable=True)
        pilot, rest = order[:PILOT], order[PILOT:]
        blocks = [self._sample(features, pooled[pilot], proposals[pilot], draws)]
        if self.margin is not None:
            reach = self.margin * noise(plain[pilot], log_odds(blocks[0][1]))
            rest = rest[promising(plain[rest], heads.last_predictor.test_score_thresh, reach)]
        if len(rest):
            blocks.append(self._sample(features, pooled[rest], proposals[rest], draws))
        boxes, probabilities = (torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
        return [heads.detections(*seen, proposals.image_size) for seen in zip(boxes, probabilities, strict=True)]

    def _sample(
        self, features: Features, pooled: torch.Tensor, proposals: Instances, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of box features of R proposals -> boxes (T, R, 4K or 4), probabilities (T, R, K + 1)."""
        count = len(proposals)
        parts = []
        for passes in self._chunks(pooled.numel(), BOX_FEATURES_AT_ONCE):
            times = len(passes)
            with active_dropout(self.layers, draws, passes, [count] * times):
                repeated = pooled.repeat(times, *[1] * (pooled.dim() - 1))
                found = self.heads.classify(features, repeated, Instances.cat([proposals] * times))
            parts.append([tensor.view(times, count, tensor.shape[-1]) for tensor in found])
        boxes, probabilities = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return boxes, probabilities

    def _add_masks(
        self, features: Features, detections: Sequence[Instances], draws: Draws, height: int, width: int
    ) -> Iterator[Member]:
        """The detections of all passes with their masks, in pixels of the file."""
        for index, found in enumerate(detections):
            found.passes = torch.full_like(found.pred_classes, index)
        for passes in self._chunks(max(len(found) for found in detections), MASKS_AT_ONCE):
            own = [detections[index] for index in passes]
            together = Instances.cat(own)
            if not len(together):
                continue
            with active_dropout(self.layers, draws, passes, [len(found) for found in own]):
                with_masks = self.heads.forward_with_given_boxes(features, [together])[0]
            yield from cut_detections(with_masks, height, width)

    def _chunks(self, of_one_pass: int, bound: int) -> Iterator[range]:
        """Indices of the passes, as many together as the bound of memory allows."""
        size = min(max(bound // max(of_one_pass, 1), 1), self.at_once)
        return (range(first, min(first + size, self.passes)) for first in range(0, self.passes, size))


def _describe(maps: Iterable[torch.Tensor], image_size: tuple[int, int], padded: torch.Size) -> npt.NDArray[np.float32]:
    """The mean of each channel of each map (1, C, H, W) over the image, its padding left out; one after the other."""
    means = []
    for features in maps:
        height, width = (math.ceil(s * f / p) for s, f, p in zip(image_size, features.shape[-2:], padded, strict=True))
        pixels = features[0].permute(1, 2, 0)[:height, :width]  # with channels last, rows add up fastest
        means.append(pixels.mean(0, dtype=torch.float32).mean(0))
    return torch.cat(means).cpu().numpy()
