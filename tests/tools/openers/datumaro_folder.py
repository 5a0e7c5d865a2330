"""datumaro's importer of a format on a folder with one image: python datumaro_folder.py FORMAT FOLDER OUT.npz"""

import sys
from collections import defaultdict

import datumaro
import numpy as np
from datumaro.components.dataset import Dataset
from pycocotools import mask as coco_mask


def fill(annotation, height, width):
    if annotation.type.name == "mask":
        return np.asarray(annotation.image).astype(bool)
    points = annotation.points
    if annotation.type.name == "bbox":
        x, y, w, h = annotation.get_bbox()
        points = [x, y, x + w, y, x + w, y + h, x, y + h]
    runs = coco_mask.merge(coco_mask.frPyObjects([list(points)], height, width))
    return coco_mask.decode(runs).astype(bool)


def size_of(item):
    for name in ("media", "image"):
        size = getattr(getattr(item, name, None), "size", None)
        if size is not None:
            return size
    raise AssertionError("the item has no image")


def main(kind, folder, out):
    dataset = Dataset.import_from(folder, kind)
    names = dataset.categories()[datumaro.AnnotationType.label]
    (item,) = list(dataset)  # it is read only now
    objects = defaultdict(list)
    for index, annotation in enumerate(item.annotations):
        label = names[annotation.label].name
        key = (label, "group", annotation.group) if annotation.group else (label, index)
        objects[key].append(fill(annotation, *size_of(item)))
    masks = [np.any(filled, axis=0) for filled in objects.values()]
    np.savez_compressed(out, labels=[key[0] for key in objects], masks=masks)


main(*sys.argv[1:])
