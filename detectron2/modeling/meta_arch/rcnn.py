"""Two-stage detectors: features, proposals, heads.

A batch is a list of N dicts, one an image: ``image`` (C, H, W) in ``INPUT.FORMAT`` and 0..255, ``instances`` (ground
truth, in training), ``height`` and ``width`` (size of the wanted output, by default the image's).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from detectron2.config import CfgNode, configurable
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import build_backbone
from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.proposal_generator.build import build_proposal_generator
from detectron2.modeling.roi_heads.roi_heads import build_roi_heads
from detectron2.structures import ImageList, Instances
from detectron2.utils.errors import InputError
from detectron2.utils.events import event_storage_or_new
from detectron2.utils.logger import log_first_n
from detectron2.utils.transfers import to_device

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]

Batch = Sequence[dict[str, Any]]
BOXES_NAMED = 5  # without area, in the log


def _with_areas(given: dict[str, Any]) -> Instances:
    """The ground truth of an input without boxes of no area, which `DatasetMapper` leaves out itself.

    No anchor overlaps with such a box: as its best ones all would count as objects, and their loss may be infinite.
    """
    truth: Instances = given["instances"]
    if not truth.has("gt_boxes") or truth.gt_boxes.device.type != "cpu":  # a GPU would have to be waited for
        return truth
    has_area = truth.gt_boxes.nonempty()
    if has_area.all():
        return truth
    row = int((~has_area).nonzero()[0])
    box = [round(value, 2) for value in truth.gt_boxes.tensor[row].tolist()]
    text = f"{given.get('file_name', 'an image')}: gt_boxes[{row}] is {box}, which has no area; such objects are left "
    log_first_n(logging.WARNING, f"{text}out (filter_empty_instances in the dataset mapper does so)", n=BOXES_NAMED)
    return truth[has_area]


class _Detector(nn.Module):
    """What both detectors share: a backbone, the normalisation of its input, scaling back to the image's size."""

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(self, backbone: Backbone, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        if len(pixel_mean) != len(pixel_std):
            raise InputError(f"MODEL.PIXEL_MEAN {list(pixel_mean)} and PIXEL_STD {list(pixel_std)} differ in length")
        # They follow from the config, so they stay out of checkpoints.
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean, dtype=torch.float32).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: Batch) -> ImageList:
        """Images on the device, normalised, padded at the right and bottom to one size that suits the backbone."""
        images = [to_device(x["image"], self.device) for x in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(
            images, self.backbone.size_divisibility, padding_constraints=self.backbone.padding_constraints
        )

    def _ground_truth(self, batched_inputs: Batch) -> list[Instances] | None:
        if "instances" not in batched_inputs[0]:
            return None
        return [_with_areas(x).to(self.device, non_blocking=True) for x in batched_inputs]

    @staticmethod
    def _postprocess(
        instances: Sequence[Instances],
        batched_inputs: Batch,
        image_sizes: Sequence[tuple[int, int]],
        key: str = "instances",
    ) -> list[dict[str, Instances]]:
        """What was found, as ``forward`` gives it; derived architectures call this. Sizes are (height, width)."""
        outputs = []
        for result, given, (height, width) in zip(instances, batched_inputs, image_sizes, strict=True):
            size = given.get("height", height), given.get("width", width)
            outputs.append({key: detector_postprocess(result, *size)})
        return outputs


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(_Detector):
    """Backbone, proposal generator and heads for the proposed regions.

    Args:
        proposal_generator: None where each input brings its ``proposals`` (Instances).
        input_format: of the images ("BGR"), needed to draw them.
        vis_period: draws ground truth and proposals into the event storage every so many iterations; 0 never.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        if vis_period > 0 and input_format is None:
            raise InputError("GeneralizedRCNN: vis_period needs input_format, to draw the images in their colours")
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        arguments = super().from_config(cfg)
        heads = build_roi_heads(cfg, arguments["backbone"].output_shape())
        return {**arguments, "roi_heads": heads, "input_format": cfg.INPUT.FORMAT, "vis_period": cfg.VIS_PERIOD}

    def forward(self, batched_inputs: Batch) -> Any:
        """In training the losses, name to scalar; else one dict an image with its ``instances``.

        Detections have ``pred_boxes``, ``scores``, ``pred_classes`` and, with a mask head, ``pred_masks`` (n, H, W).
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        truth = self._ground_truth(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self._propose(images, features, batched_inputs, truth)
        _, losses = self.roi_heads(images, features, proposals, truth)
        if self.vis_period > 0 and event_storage_or_new().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**losses, **proposal_losses}

    def inference(
        self, batched_inputs: Batch, detected_instances: list[Instances] | None = None, do_postprocess: bool = True
    ) -> Any:
        """Detections as ``forward`` gives them; without ``do_postprocess`` Instances at the network's resolution.

        ``detected_instances`` (``pred_boxes``, ``pred_classes`` at that resolution) only get their masks.
        """
        if self.training:
            raise RuntimeError("GeneralizedRCNN.inference: the model is in training mode, call eval() before")
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._propose(images, features, batched_inputs, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            given = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)  # type: ignore[operator]
        return self._postprocess(results, batched_inputs, images.image_sizes) if do_postprocess else results

    def _propose(
        self, images: ImageList, features: dict[str, torch.Tensor], batched_inputs: Batch, truth: list[Instances] | None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, truth)
        if "proposals" not in batched_inputs[0]:
            raise KeyError("GeneralizedRCNN has no proposal generator, so each input needs 'proposals'")
        return [x["proposals"].to(self.device) for x in batched_inputs], {}

    def visualize_training(self, batched_inputs: Batch, proposals: Sequence[Instances]) -> None:
        """Put a picture of the first image into the event storage: ground truth left, best 20 proposals right."""
        # matplotlib is slow to import and rarely needed here.
        from detectron2.data.detection_utils import convert_image_to_rgb
        from detectron2.utils.visualizer import Visualizer

        chw = batched_inputs[0]["image"].cpu()
        rgb = np.asarray(convert_image_to_rgb(chw.permute(1, 2, 0), cast(str, self.input_format)))
        truth = batched_inputs[0]["instances"].gt_boxes.tensor.cpu()
        best = proposals[0].proposal_boxes.tensor[:20].cpu()
        pictures = [Visualizer(rgb, None).overlay_instances(boxes=b.numpy()).get_image() for b in (truth, best)]
        both = np.concatenate(pictures, axis=1).transpose(2, 0, 1)
        event_storage_or_new().put_image("Left: GT bounding boxes;  Right: Predicted proposals", both)


@META_ARCH_REGISTRY.register()
class ProposalNetwork(_Detector):
    """Backbone and proposal generator alone; `kwargs` are backbone, pixel_mean and pixel_std."""

    @configurable
    def __init__(self, *, proposal_generator: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proposal_generator = proposal_generator

    def forward(self, batched_inputs: Batch) -> Any:
        """In training the losses; else one dict an image with ``proposals`` at the output size."""
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        truth = self._ground_truth(batched_inputs)
        proposals, losses = self.proposal_generator(images, features, truth)
        if self.training:
            return losses
        return self._postprocess(proposals, batched_inputs, images.image_sizes, "proposals")
