"""Give a COCO json file a name."""

from __future__ import annotations

import functools
import os
from typing import Any

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json

__all__ = ["register_coco_instances"]


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> None:
    """Register a data set in COCO's instance format. Nothing is read yet.

    Args:
        name: what DATASETS.TRAIN and DATASETS.TEST will call it.
        metadata: more to know about it; may be {}.
        json_file: annotations.
        image_root: folder that the file names in the json are relative to.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    DatasetCatalog.register(name, functools.partial(load_coco_json, json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)
