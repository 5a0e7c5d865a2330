"""Transforms (what happens to image, boxes, polygons, masks) and augmentations (which transform, sampled at random)."""

from fvcore.transforms.transform import (
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

from detectron2.data.transforms.augmentation import *
from detectron2.data.transforms.augmentation_impl import *
from detectron2.data.transforms.transform import *
