"""How good predictions are."""

from detectron2.evaluation.coco_evaluation import *
from detectron2.evaluation.evaluator import *
from detectron2.evaluation.testing import *
