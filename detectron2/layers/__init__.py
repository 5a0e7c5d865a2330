"""Building blocks of networks: tensors in, tensors out, nothing about images or instances."""

from detectron2.layers.batch_norm import BatchNorm2d, FrozenBatchNorm2d, get_norm
from detectron2.layers.blocks import CNNBlockBase
from detectron2.layers.losses import ciou_loss, diou_loss
from detectron2.layers.mask_ops import paste_masks_in_boxes, paste_masks_in_image
from detectron2.layers.nms import batched_nms, nms
from detectron2.layers.roi_align import ROIAlign, roi_align
from detectron2.layers.shape_spec import ShapeSpec
from detectron2.layers.weight_init import c2_msra_fill, c2_xavier_fill
from detectron2.layers.wrappers import (
    Conv2d,
    ConvTranspose2d,
    Linear,
    cat,
    cross_entropy,
    empty_input_loss_func_wrapper,
    interpolate,
    move_device_like,
    nonzero_tuple,
)

__all__ = [
    "BatchNorm2d",
    "CNNBlockBase",
    "Conv2d",
    "ConvTranspose2d",
    "FrozenBatchNorm2d",
    "Linear",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "c2_msra_fill",
    "c2_xavier_fill",
    "cat",
    "ciou_loss",
    "cross_entropy",
    "diou_loss",
    "empty_input_loss_func_wrapper",
    "get_norm",
    "interpolate",
    "move_device_like",
    "nms",
    "nonzero_tuple",
    "paste_masks_in_boxes",
    "paste_masks_in_image",
    "roi_align",
]
