"""How good predictions are."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.evaluation.coco_evaluation import *
from detectron2.evaluation.evaluator import *
from detectron2.evaluation.testing import *
