"""Networks: backbones, proposal generators, heads, and whole detectors built from a configuration."""

from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import *
from detectron2.modeling.backbone import *
from detectron2.modeling.meta_arch import *
from detectron2.modeling.postprocessing import *
from detectron2.modeling.proposal_generator import *
from detectron2.modeling.roi_heads import *
