"""What a trained network detects in the images of a folder, as annotations that a person can correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from active_learning.annotations import Annotation, Bitmap, Instance
from active_learning.errors import MaskALError
from active_learning.network.image_batches import ImageInput, UnreadableImage, read_images, same_shape_batches
from active_learning.network.inference_copy import for_inference
from detectron2.config import CfgNode
from detectron2.modeling import detector_postprocess
from detectron2.structures import Instances
from detectron2.utils.memory import is_cuda_out_of_memory, none_if_cuda_oom


class PreLabeller:
    """Predicts the objects of images.

    Args:
        model: for inference, of a network with masks.
        classes: the names of the network's classes, in order.
        wanted: objects of other classes are left out; None: all are wanted.
        batch_size: images of one shape that go through the network together.
    """

    def __init__(
        self,
        model: nn.Module,
        cfg: CfgNode,
        classes: Sequence[str],
        *,
        wanted: Sequence[str] | None = None,
        batch_size: int = 4,
    ) -> None:
        self.model: Any = for_inference(model.eval(), cfg)
        self.cfg = cfg
        self.classes = classes
        self.wanted = frozenset(classes if wanted is None else wanted)
        self.batch_size = batch_size

    def __call__(self, folder: Path, names: Sequence[str]) -> Iterator[Annotation | UnreadableImage]:
        """The annotation of each image, named as in `names`, or its fault; in no particular order.

        Raises:
            MaskALError: the GPU's memory is too small for one image.
        """
        unreadable: list[UnreadableImage] = []

        def readable() -> Iterator[ImageInput]:
            for image in read_images(folder, names, self.cfg):
                if isinstance(image, ImageInput):
                    yield image
                else:
                    unreadable.append(image)

        for batch in same_shape_batches(readable(), self.batch_size):
            for image, detections in zip(batch, self._detect(batch), strict=True):
                yield self._annotation(image, detections)
        yield from unreadable

    def _detect(self, batch: Sequence[ImageInput]) -> list[Instances]:
        """Image by image where the memory is too small for the batch, and each once more with the cache emptied."""
        found = none_if_cuda_oom(self._infer, batch)
        if found is not None:
            return found
        if len(batch) > 1:
            return [self._detect([image])[0] for image in batch]
        try:
            return self._infer(batch)
        except RuntimeError as error:
            if not is_cuda_out_of_memory(error):
                raise
            raise MaskALError(
                f"{batch[0].name}: the GPU's memory is too small for this image; "
                "lower image_max_size and image_min_size, or use the CPU"
            ) from error

    @torch.no_grad()
    def _infer(self, batch: Sequence[ImageInput]) -> list[Instances]:
        """At the network's resolution, masks inside their boxes: whole masks of all images would take much memory."""
        found: list[Instances] = self.model.inference([image.content for image in batch], do_postprocess=False)
        return found

    def _annotation(self, image: ImageInput, detections: Instances) -> Annotation:
        height, width = image.content["height"], image.content["width"]
        found = detector_postprocess(detections, height, width)
        return Annotation(image.name, height, width, tuple(instances_of(found, self.classes, self.wanted)))


def instances_of(detections: Instances, classes: Sequence[str], wanted: frozenset[str]) -> Iterator[Instance]:
    """The detections that have a pixel, as bitmaps with their score.

    Args:
        detections: pred_masks (n, H, W) bool, pred_classes, scores; of one image.
        classes: the names of the classes.
        wanted: the names of those to keep.
    """
    labels = [classes[index] for index in detections.pred_classes.tolist()]
    for label, score, mask in zip(labels, detections.scores.tolist(), detections.pred_masks, strict=True):
        if label in wanted and (bitmap := _crop(mask)) is not None:
            yield Instance(label, bitmap=bitmap, score=score)


def _crop(mask: torch.Tensor) -> Bitmap | None:
    """The rows and columns of an HxW mask that have set pixels; cropped where it lies, so that little is moved."""
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    if not len(rows):
        return None
    (top, bottom), (left, right) = (rows[[0, -1]].tolist(), columns[[0, -1]].tolist())
    return Bitmap(left, top, mask[top : bottom + 1, left : right + 1].cpu().numpy())
