"""The data sets that are known by name without registering: COCO, below $DETECTRON2_DATASETS or else ./datasets."""

from __future__ import annotations

import os
from pathlib import Path

from detectron2.data.datasets.builtin_meta import coco_instances_meta
from detectron2.data.datasets.register_coco import register_coco_instances

__all__ = ["register_all_coco"]

# Name: image folder, annotation file; both below the folder of all data sets.
_COCO_SPLITS = {
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
    "coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
    "coco_2017_val_100": ("coco/val2017", "coco/annotations/instances_val2017_100.json"),
}


def register_all_coco(root: str | Path) -> None:
    """Register COCO's splits below `root`."""
    folder = Path(root)
    for name, (images, json_file) in _COCO_SPLITS.items():
        register_coco_instances(name, coco_instances_meta(), folder / json_file, folder / images)


register_all_coco(Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser())
