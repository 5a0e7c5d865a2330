"""Heads for proposed regions."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.modeling.roi_heads.box_head import *
from detectron2.modeling.roi_heads.cascade_rcnn import *
from detectron2.modeling.roi_heads.fast_rcnn import *
from detectron2.modeling.roi_heads.mask_head import *
from detectron2.modeling.roi_heads.roi_heads import *
