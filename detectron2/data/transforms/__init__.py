"""Transforms (what happens to image, boxes, polygons, masks) and augmentations (which transform, sampled at random)."""

from fvcore.transforms.transform import (  # noqa: F401
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from detectron2.data.transforms.augmentation import *  # noqa: F403
from detectron2.data.transforms.augmentation_impl import *  # noqa: F403
from detectron2.data.transforms.transform import *  # noqa: F403
