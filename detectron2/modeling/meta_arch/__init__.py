"""Whole networks."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.modeling.meta_arch.build import *
from detectron2.modeling.meta_arch.rcnn import *
