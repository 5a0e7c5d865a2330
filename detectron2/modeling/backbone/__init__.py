"""Feature extractors."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.modeling.backbone.backbone import *
from detectron2.modeling.backbone.build import *
from detectron2.modeling.backbone.fpn import *
from detectron2.modeling.backbone.resnet import *
