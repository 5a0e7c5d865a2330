"""Where in an image objects may be."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.modeling.proposal_generator.build import *
from detectron2.modeling.proposal_generator.proposal_utils import *
from detectron2.modeling.proposal_generator.rpn import *
