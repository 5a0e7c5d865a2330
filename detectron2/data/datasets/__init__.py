"""Data sets in COCO's json format, and the built-in names."""

from detectron2.data.datasets import builtin
from detectron2.data.datasets.coco import *
