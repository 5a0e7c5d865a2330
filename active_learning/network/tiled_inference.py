"""What a network detects in a large image, tile by tile. Whole masks are never made: they are kept as crops.

n: detections. T: passes. C: channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from active_learning.annotations import Bitmap
from active_learning.annotations.run_lengths import encode_runs, runs_of
from active_learning.network.batch_inference import detect_batch, masks_as_crops
from active_learning.network.image_batches import ImageInput
from active_learning.network.image_features import mean_of_tiles
from active_learning.network.model_input import TileInput, TileInputs, tile_name
from active_learning.sampling.observations import Detection, ForwardPasses, Mask
from active_learning.tiles.grid import Tile
from active_learning.tiles.joining import TileDetection, join_tiles
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

TILES_AT_ONCE = 4


class Sampler(Protocol):
    """T forward passes over an image that is no larger than the network takes at once."""

    cfg: CfgNode

    def forward_passes(self, name: str, model_input: Mapping[str, Any]) -> ForwardPasses: ...


def forward_passes_of_tiles(sampler: Sampler, name: str, inputs: TileInputs) -> ForwardPasses:
    """T passes over a large image: the detections of each pass, joined; features are means, weighted by area."""
    size = inputs.height, inputs.width
    found: list[list[tuple[TileDetection, Detection]]] = []
    features: list[npt.NDArray[np.float32]] = []
    for one in inputs:
        seen = sampler.forward_passes(tile_name(name, one.tile, inputs.tiles), one.content)
        found = found or [[] for _ in seen.passes]
        for kept, detections in zip(found, seen.passes, strict=True):
            kept += [(_of_pass(detection, one.tile, *size), detection) for detection in detections]
        features.append(seen.features)
    threshold = float(sampler.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)
    passes = tuple(_joined_pass(one_pass, *size, threshold) for one_pass in found)
    return ForwardPasses(passes, mean_of_tiles(features, inputs), *size)


def _of_pass(detection: Detection, tile: Tile, height: int, width: int) -> TileDetection:
    label = int(detection.probabilities.argmax())
    score = float(detection.probabilities[label])
    return TileDetection.in_image(tile, label, score, detection.box, detection.mask, height, width)


def _joined_pass(
    found: Sequence[tuple[TileDetection, Detection]], height: int, width: int, nms_threshold: float
) -> tuple[Detection, ...]:
    joined = join_tiles([one for one, _ in found], height, width, nms_threshold=nms_threshold)
    return tuple(Detection(one.mask, one.box, found[one.source][1].probabilities) for one in joined)


class RunLengthMasks:
    """n masks of one image as COCO's run lengths, {"size": [H, W], "counts": text} each, in the place of (n, H, W)."""

    def __init__(self, run_lengths: Sequence[dict[str, Any]]) -> None:
        self.run_lengths = list(run_lengths)

    @classmethod
    def of(cls, masks: Sequence[Mask], height: int, width: int) -> RunLengthMasks:
        bitmaps = (Bitmap(mask.x, mask.y, mask.pixels) for mask in masks)
        texts = (encode_runs(runs_of(bitmap, height, width)) for bitmap in bitmaps)
        return cls([{"size": [height, width], "counts": text} for text in texts])

    def __len__(self) -> int:
        return len(self.run_lengths)

    def __getitem__(self, chosen: torch.Tensor) -> RunLengthMasks:
        """By (n,) bool or by indices, as Instances does."""
        places = torch.arange(len(self))[chosen.cpu()].tolist()
        return RunLengthMasks([self.run_lengths[place] for place in places])


class TiledDetector(nn.Module):
    """A network that detects in large images, tile by tile.

    Args:
        network: for inference.
        thresholds: scores above which detections are joined separately, for evaluation.
    """

    def __init__(self, network: Any, cfg: CfgNode, thresholds: Sequence[float] = ()) -> None:
        super().__init__()
        self.thresholds = thresholds
        self.network = network
        self.training = network.training  # which is as it was after an evaluation
        self.nms_threshold = float(cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST)

    def forward(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As the network has it, but that `pred_masks` are `RunLengthMasks`, on the processor. `joined_above` maps each
        threshold to the same of the detections that score higher: weaker ones change what is joined.

        Args:
            records: `tiles` of each, a `TileInputs`.
        """
        return [self._output(record["tiles"]) for record in records]

    def _output(self, inputs: TileInputs) -> dict[str, Any]:
        found = self._in_all_tiles(inputs)
        above = {threshold: [one for one in found if one.score > threshold] for threshold in self.thresholds}
        joined_above = {
            threshold: self._with_run_lengths(self._joined(own, inputs))
            for threshold, own in above.items()
            if len(own) < len(found)
        }
        return {"instances": self._with_run_lengths(self._joined(found, inputs)), "joined_above": joined_above}

    def _with_run_lengths(self, found: Instances) -> Instances:
        masks = RunLengthMasks.of(found.masks, *found.image_size)
        found.remove("masks")
        found.pred_masks = masks
        return found

    def detect(self, inputs: TileInputs) -> Instances:
        """n detections in pixels of the image, on the processor, in order of falling score: pred_boxes, scores,
        pred_classes, and `masks`, a list of Mask.

        Raises:
            UnreadableImageError: the file cannot be read to its end.
            MaskALError: the GPU's memory is too small for one tile.
        """
        return self._joined(self._in_all_tiles(inputs), inputs)

    def _in_all_tiles(self, inputs: TileInputs) -> list[TileDetection]:
        return [one for batch in _batches(iter(inputs)) for one in self._in_tiles(batch, inputs)]

    def _joined(self, found: Sequence[TileDetection], inputs: TileInputs) -> Instances:
        size = inputs.height, inputs.width
        joined = join_tiles(found, *size, nms_threshold=self.nms_threshold)
        sources = [found[one.source] for one in joined]
        boxes = torch.as_tensor(np.array([one.box for one in joined], dtype=np.float32).reshape(-1, 4))
        return Instances(
            size,
            pred_boxes=Boxes(boxes),
            scores=torch.tensor([one.score for one in sources], dtype=torch.float32),
            pred_classes=torch.tensor([one.label for one in sources], dtype=torch.int64),
            masks=[one.mask for one in joined],
        )

    def _in_tiles(self, batch: Sequence[TileInput], inputs: TileInputs) -> Iterator[TileDetection]:
        images = [ImageInput(tile_name(str(inputs.path), one.tile, inputs.tiles), one.content) for one in batch]
        for one, detections in zip(batch, detect_batch(self.network, images), strict=True):
            cut = masks_as_crops(detections, one.tile.size, one.tile.size)
            columns = cut.pred_classes.tolist(), cut.scores.tolist(), cut.pred_boxes.tensor.double().numpy(), cut.masks
            for row in zip(*columns, strict=True):
                yield TileDetection.in_image(one.tile, *row, inputs.height, inputs.width)


def _batches(inputs: Iterator[TileInput]) -> Iterator[list[TileInput]]:
    while batch := list(islice(inputs, TILES_AT_ONCE)):
        yield batch
