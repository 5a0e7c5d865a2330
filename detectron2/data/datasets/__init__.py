"""Data sets in COCO's json format, and the built-in names."""

from detectron2.data.datasets import builtin
from detectron2.data.datasets.coco import convert_to_coco_dict, convert_to_coco_json, load_coco_json
from detectron2.data.datasets.register_coco import register_coco_instances

__all__ = [
    "builtin",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "load_coco_json",
    "register_coco_instances",
]
