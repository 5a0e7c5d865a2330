"""LabelMe's own loader on a file: python labelme_file.py FILE.json OUT.npz"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from labelme._label_file import read_label_file
from labelme.utils import shape_to_mask


def fill(shape, height, width):
    if shape["shape_type"] != "mask":
        return shape_to_mask((height, width), shape["points"], shape["shape_type"])
    canvas = np.zeros((height, width), bool)
    (x, y), _ = shape["points"]
    rows, columns = shape["mask"].shape
    canvas[int(y) : int(y) + rows, int(x) : int(x) + columns] = shape["mask"]
    return canvas


def main(file, out):
    shapes = read_label_file(file).shapes  # raises LabelFileError on what LabelMe refuses
    document = json.loads(Path(file).read_text(encoding="utf-8"))
    objects = defaultdict(list)
    for index, shape in enumerate(shapes):
        group = shape["group_id"]
        key = (shape["label"], "group", group) if group is not None else (shape["label"], index)
        objects[key].append(fill(shape, document["imageHeight"], document["imageWidth"]))
    masks = [np.any(filled, axis=0) for filled in objects.values()]
    np.savez_compressed(out, labels=[key[0] for key in objects], masks=masks)


main(*sys.argv[1:])
