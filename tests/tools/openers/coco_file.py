"""pycocotools on a COCO json file with one image: python coco_file.py FILE.json OUT.npz"""

import sys

import numpy as np
from pycocotools.coco import COCO


def main(file, out):
    coco = COCO(file)
    (image,) = coco.getImgIds()
    objects = coco.loadAnns(coco.getAnnIds(imgIds=image, iscrowd=False))
    masks = [coco.annToMask(one).astype(bool) for one in objects]
    for one, mask in zip(objects, masks, strict=True):
        if min(one["bbox"]) < 0:  # over the border
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert np.abs(np.array(one["bbox"]) - box).max() <= 2
        assert abs(one["area"] - mask.sum()) <= 0.03 * mask.sum()
    labels = [coco.loadCats(one["category_id"])[0]["name"] for one in objects]
    np.savez_compressed(out, labels=labels, masks=masks)


main(*sys.argv[1:])
