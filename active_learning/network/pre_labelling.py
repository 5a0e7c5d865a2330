"""What a trained network detects in the images of a folder, as annotations that a person can correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from active_learning.annotations import Annotation, Bitmap, Instance
from active_learning.errors import UnreadableImageError
from active_learning.network.batch_inference import detect_batch, masks_as_crops
from active_learning.network.image_batches import ImageInput, UnreadableImage, read_images, same_shape_batches
from active_learning.network.inference_copy import for_inference
from active_learning.network.model_input import is_tiled
from active_learning.network.tiled_inference import TiledDetector
from detectron2.config import CfgNode
from detectron2.structures import Instances


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

        if is_tiled(self.cfg):
            yield from map(self._of_tiles, readable())
        else:
            for batch in same_shape_batches(readable(), self.batch_size):
                for image, detections in zip(batch, detect_batch(self.model, batch), strict=True):
                    yield self._annotation(image, detections)
        yield from unreadable

    def _annotation(self, image: ImageInput, detections: Instances) -> Annotation:
        found = masks_as_crops(detections, image.content["height"], image.content["width"])
        return Annotation(image.name, *found.image_size, tuple(instances_of(found, self.classes, self.wanted)))

    def _of_tiles(self, image: ImageInput) -> Annotation | UnreadableImage:
        try:
            found = TiledDetector(self.model, self.cfg).detect(image.content["tiles"])
        except UnreadableImageError as error:
            return UnreadableImage(image.name, str(error))
        return Annotation(image.name, *found.image_size, tuple(instances_of(found, self.classes, self.wanted)))


def instances_of(detections: Instances, classes: Sequence[str], wanted: frozenset[str]) -> Iterator[Instance]:
    """The detections that have a pixel, as bitmaps with their score.

    Args:
        detections: masks, pred_classes, scores of one image, as `cut_masks` gives them.
        classes: the names of the classes.
        wanted: the names of those to keep.
    """
    labels = [classes[index] for index in detections.pred_classes.tolist()]
    for label, score, mask in zip(labels, detections.scores.tolist(), detections.masks, strict=True):
        if label in wanted and mask.area:
            yield Instance(label, bitmap=Bitmap(mask.x, mask.y, mask.pixels), score=score)
