"""Heads for proposed regions."""

from detectron2.modeling.roi_heads.box_head import *
from detectron2.modeling.roi_heads.cascade_rcnn import *
from detectron2.modeling.roi_heads.fast_rcnn import *
from detectron2.modeling.roi_heads.mask_head import *
from detectron2.modeling.roi_heads.roi_heads import *
