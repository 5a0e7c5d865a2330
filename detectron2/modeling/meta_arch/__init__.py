"""Whole networks."""

from detectron2.modeling.meta_arch.build import *
from detectron2.modeling.meta_arch.rcnn import *
