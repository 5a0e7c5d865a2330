"""Feature extractors."""

from detectron2.modeling.backbone.backbone import *
from detectron2.modeling.backbone.build import *
from detectron2.modeling.backbone.fpn import *
from detectron2.modeling.backbone.resnet import *
