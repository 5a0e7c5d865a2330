"""Monte-Carlo dropout: T forward passes over an image with the dropout layers active.

Backbone, proposals and pooled box features do not depend on dropout, so they are computed once an image; box head,
suppression and mask head run T times, several passes in one batch (Gal & Ghahramani 2016; Blok et al. 2022). Proposals
that dropout cannot lift above the confidence threshold are left out of the passes (proposal_screening.py).

What is detected depends on the weights, the settings, the seed and the image's name alone, to the last bit. So images
are not batched: batched convolutions round otherwise than single ones, and neighbours change the padding.

T: passes. R: proposals. n: detections. K: foreground classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from active_learning.errors import MaskALError
from active_learning.network.detection_crops import cut_detections
from active_learning.network.dropout_heads import Features, RepeatedHeads
from active_learning.network.image_features import channel_means
from active_learning.network.inference_copy import half_type, inference_copy
from active_learning.network.model_input import is_tiled, seen_size, tile_settings
from active_learning.network.network_file import network_values, values_of_testing
from active_learning.network.proposal_screening import log_odds, noise, screened
from active_learning.network.seeded_dropout import SeededDropout, active_dropout, pass_streams
from active_learning.network.tiled_inference import forward_passes_of_tiles
from active_learning.network.training_failures import GO_ON, inference_remedy
from active_learning.sampling.observations import Detection, ForwardPasses
from active_learning.system.log import logger
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from detectron2.utils.memory import none_if_cuda_oom

# Bounds of memory. What a pass drops does not depend on how many passes share a batch.
BOX_FEATURES_AT_ONCE = 2**23  # numbers that enter the box head: 32 MiB in float32
MASKS_AT_ONCE = 128  # detections that enter the mask head
MOST_BOXES = 2**20  # whose features are pooled together: all
# So many of the best proposals measure how much noise dropout makes; a proposal that would need more than MARGIN times
# that noise to reach the threshold is left out. Were the noise normal, one value in 30,000 would be larger.
PILOT = 64
MARGIN = 4.0


class MonteCarloDropout:
    """Runs `passes` forward passes over an image.

    Args:
        model: from the config; it is copied, so what is trained later does not show.
        cfg: with SOLVER.AMP.ENABLED the network calculates in 16 bits.
        seed: what is dropped depends on it and the image's name alone.
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
        self.cfg = cfg
        self.passes = passes
        self.seed = seed
        self.margin = margin
        self.model = inference_copy(model, half=cfg.SOLVER.AMP.ENABLED)
        self.heads: Any = self.model.roi_heads
        self.layers = [layer for layer in self.model.modules() if isinstance(layer, SeededDropout)]
        self.device = next(self.model.parameters()).device
        self.dtype = half_type(self.device) if cfg.SOLVER.AMP.ENABLED else torch.float32
        self.streams = pass_streams(torch.arange(passes, device=self.device))
        # At most so many share a batch; fewer where a GPU's memory is too small for them.
        self.at_once = passes
        self.boxes_at_once = MOST_BOXES
        self._begun: tuple[str, int] = ("image", 1)  # what was computed last, and how many at once

    @property
    def conditions(self) -> dict[str, Any]:
        """What the passes depend on beside the weights, and a person may change between two starts of a run."""
        heads = self.cfg.MODEL.ROI_HEADS
        return {
            "passes": self.passes,
            "seed": self.seed,
            "dropout_probability": heads.DROPOUT_PROBABILITY,
            "confidence_threshold": heads.SCORE_THRESH_TEST,
            "nms_threshold": heads.NMS_THRESH_TEST,
            "network": values_of_testing(network_values(self.cfg)),
            "image_sizes": [self.cfg.INPUT.MIN_SIZE_TEST, self.cfg.INPUT.MAX_SIZE_TEST],
            "mixed_precision": self.cfg.SOLVER.AMP.ENABLED,
            **({"tiles": tile_settings(self.cfg)} if is_tiled(self.cfg) else {}),
        }

    @torch.no_grad()
    def forward_passes(self, name: str, model_input: Mapping[str, Any]) -> ForwardPasses:
        """The passes over one image; where the GPU's memory is too small, with less of it at once from then on.

        Args:
            name: of the image; what is dropped depends on it, beside the seed, and in a large image on the tile.
            model_input: of the image (`read_input`); detections are in pixels of its file.

        Raises:
            MaskALError: the memory is too small for what cannot be divided, such as the backbone on the whole image;
                UnreadableImageError: of a large image, a tile cannot be read.
        """
        if "tiles" in model_input:
            return forward_passes_of_tiles(self, name, model_input["tiles"])
        was_whole = False
        while True:
            found = none_if_cuda_oom(self._forward_passes, name, model_input)
            if found is not None:
                return found
            if self._compute_less_at_once():
                continue
            if was_whole:  # now also with the cache emptied
                raise MaskALError(
                    f"{name}: the GPU's memory is too small for choosing images. In MaskAL's settings: "
                    f"{inference_remedy(self.cfg)}. {GO_ON} with choosing"
                )
            was_whole = True

    def _compute_less_at_once(self) -> bool:
        """Halves what the memory was too small for; False where it is a whole already."""
        what, count = self._begun
        if count <= 1:
            return False
        if self.at_once == self.passes and self.boxes_at_once == MOST_BOXES:
            logger.warning("The GPU's memory is short: sampling goes on with fewer %s at once, and slower", what)
        if what == "passes":
            self.at_once = count // 2
        else:
            self.boxes_at_once = count // 2
        return True

    def _forward_passes(self, name: str, model_input: Mapping[str, Any]) -> ForwardPasses:
        height, width = model_input["height"], model_input["width"]
        features, proposals, image_features = self._trunk(model_input)
        image_key = f"{self.seed} {name}"
        found = self._add_masks(features, self._detect(features, proposals, image_key), image_key)
        passes: list[list[Detection]] = [[] for _ in range(self.passes)]
        if found:
            for index, detection in cut_detections(Instances.cat(found), height, width):
                passes[index].append(detection)
        every_pass = tuple(tuple(one_pass) for one_pass in passes)
        return ForwardPasses(every_pass, image_features.cpu().numpy(), height, width)

    def _trunk(self, model_input: Mapping[str, Any]) -> tuple[Features, Instances, torch.Tensor]:
        """What comes before the heads: feature maps, the image's proposals, and ForwardPasses.features (C,)."""
        self._begun = ("image", 1)
        images = self.model.preprocess_image([model_input])
        pixels = images.tensor.to(self.dtype, memory_format=torch.channels_last)
        features = self.model.backbone(pixels)
        proposals, _ = self.model.proposal_generator(images, features, None)
        features = {name: features[name] for name in self.heads.in_features}
        if self.device.type != "cpu":
            # Pooling reads them channel by channel there; so they are laid out anew once and not in every call.
            features = {name: one.contiguous() for name, one in features.items()}
        return features, proposals[0], channel_means(features.values(), seen_size(model_input), pixels.shape[-2:])

    def _detect(self, features: Features, proposals: Instances, image_key: str) -> list[Instances]:
        """T times what the box head detects; coordinates of the network's input."""
        heads: RepeatedHeads = self.heads
        pooled = self._box_features(features, proposals.proposal_boxes)
        self._begun = ("passes", 1)
        plain = log_odds(heads.classify(features, pooled, proposals)[1])
        order = plain.argsort(descending=True, stable=True)
        pilot, rest = order[:PILOT], order[PILOT:]
        blocks = [self._sample(features, pooled, proposals, pilot, image_key)]
        if self.margin is not None:
            reach = self.margin * noise(plain[pilot], log_odds(blocks[0][1]))
            rest = rest[screened(plain[rest], heads.last_predictor.test_score_thresh, reach)]
        if len(rest):
            blocks.append(self._sample(features, pooled, proposals, rest, image_key))
        boxes, probabilities = (torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
        return heads.detections(list(boxes), list(probabilities), [proposals.image_size] * self.passes)

    def _box_features(self, features: Features, boxes: Boxes) -> torch.Tensor:
        parts, size = [], min(self.boxes_at_once, max(len(boxes), 1))
        for first in range(0, max(len(boxes), 1), size):
            self._begun = ("boxes", size)
            parts.append(self.heads.box_features(features, boxes[first : first + size]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _sample(
        self, features: Features, pooled: torch.Tensor, proposals: Instances, chosen: torch.Tensor, image_key: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All R box features and proposals, indices of n -> boxes (T, n, 4K or 4), probabilities (T, n, K + 1)."""
        pooled, proposals, count = pooled[chosen], proposals[chosen], len(chosen)
        parts = []
        for passes in self._chunks(pooled.numel(), BOX_FEATURES_AT_ONCE):
            times = len(passes)
            streams = self.streams[:, passes.start : passes.stop, None].expand(2, times, count).flatten(1)
            with active_dropout(self.layers, image_key, streams, chosen.repeat(times)):
                repeated = pooled.repeat(times, *[1] * (pooled.dim() - 1))
                found = self.heads.classify(features, repeated, Instances.cat([proposals] * times))
            parts.append([tensor.view(times, count, tensor.shape[-1]) for tensor in found])
        boxes, probabilities = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return boxes, probabilities

    def _add_masks(self, features: Features, detections: Sequence[Instances], image_key: str) -> list[Instances]:
        """The detections of all passes, several passes in one, with their masks and the index of each one's pass."""
        for index, found in enumerate(detections):
            found.passes = torch.full_like(found.pred_classes, index)
        most, with_masks = max(len(found) for found in detections), []
        places = torch.arange(most, device=self.device)
        for passes in self._chunks(most, MASKS_AT_ONCE):
            own = [detections[index] for index in passes]
            joined = Instances.cat(own)
            if not len(joined):
                continue
            objects = torch.cat([places[: len(found)] for found in own])
            with active_dropout(self.layers, image_key, self.streams[:, joined.passes], objects):
                with_masks += self.heads.forward_with_given_boxes(features, [joined])
        return with_masks

    def _chunks(self, of_one_pass: int, bound: int) -> Iterator[range]:
        """Indices of the passes, as many together as the bound of memory allows."""
        size = min(max(bound // max(of_one_pass, 1), 1), self.at_once)
        for first in range(0, self.passes, size):
            self._begun = ("passes", min(size, self.passes - first))
            yield range(first, min(first + size, self.passes))
