"""The data sets that are known by name without registering: COCO, below $DETECTRON2_DATASETS or else ./datasets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from detectron2.data.datasets.coco import register_coco_instances
from detectron2.utils.colormap import colormap

# Name: image folder, annotation file; both below the folder of all data sets.
_COCO_SPLITS = {
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
    "coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
    "coco_2017_val_100": ("coco/val2017", "coco/annotations/instances_val2017_100.json"),
}


# COCO's category ids have gaps; the network's classes are numbered 0 to 79 in this order.
_COCO_CATEGORIES = """
1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat, 10 traffic light, 11 fire
hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22
elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase, 34 frisbee,
35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat, 40 baseball glove, 41 skateboard, 42 surfboard,
43 tennis racket, 44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple,
54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair, 63 couch, 64
potted plant, 65 bed, 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell
phone, 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator, 84 book, 85 clock, 86 vase, 87 scissors, 88
teddy bear, 89 hair drier, 90 toothbrush
"""


def coco_instances_meta() -> dict[str, Any]:
    """thing_classes, thing_colors (RGB) and thing_dataset_id_to_contiguous_id of COCO."""
    rows = [entry.split(maxsplit=1) for entry in " ".join(_COCO_CATEGORIES.split("\n")).split(",")]
    return {
        "thing_classes": [name.strip() for _, name in rows],
        "thing_colors": colormap(rgb=True)[: len(rows)].round().astype(int).tolist(),
        "thing_dataset_id_to_contiguous_id": {int(number): index for index, (number, _) in enumerate(rows)},
    }


def register_all_coco(root: str | Path) -> None:
    """Register COCO's splits below `root`."""
    folder = Path(root)
    for name, (images, json_file) in _COCO_SPLITS.items():
        register_coco_instances(name, coco_instances_meta(), folder / json_file, folder / images)


register_all_coco(Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser())
