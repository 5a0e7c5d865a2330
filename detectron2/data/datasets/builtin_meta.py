"""Metadata of the built-in data sets: COCO's 80 classes."""

from __future__ import annotations

import colorsys
from typing import Any

__all__ = ["coco_instances_meta"]

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
_GOLDEN_RATIO = 0.618034


def _color(index: int) -> list[int]:
    # Steps of the golden ratio around the colour circle keep neighbours apart.
    saturation, value = (1.0, 0.7)[index % 2], (1.0, 1.0, 0.8)[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, saturation, value)
    return [round(255 * red), round(255 * green), round(255 * blue)]


def coco_instances_meta() -> dict[str, Any]:
    """thing_classes, thing_colors (RGB) and thing_dataset_id_to_contiguous_id of COCO."""
    rows = [entry.split(maxsplit=1) for entry in " ".join(_COCO_CATEGORIES.split("\n")).split(",")]
    return {
        "thing_classes": [name.strip() for _, name in rows],
        "thing_colors": [_color(index) for index in range(len(rows))],
        "thing_dataset_id_to_contiguous_id": {int(number): index for index, (number, _) in enumerate(rows)},
    }
