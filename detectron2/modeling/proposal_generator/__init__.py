"""Where in an image objects may be."""

from detectron2.modeling.proposal_generator.build import *
from detectron2.modeling.proposal_generator.proposal_utils import *
from detectron2.modeling.proposal_generator.rpn import *
