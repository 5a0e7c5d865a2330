"""Ultralytics' data set to train on, from a data.yaml with one image: python ultralytics_data.py DATA.yaml OUT.npz"""

import os
import sys
import tempfile

os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp()  # its settings must not stay behind
os.environ["YOLO_OFFLINE"] = "true"

import numpy as np
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, polygon2mask


def main(file, out):
    data = check_det_dataset(file, autodownload=False)
    for split in ("train", "val"):
        dataset = YOLODataset(img_path=data[split], data=data, task="segment", augment=False, imgsz=640)
        (label,) = dataset.labels  # an image whose label file is refused is left out
        assert dataset[0]["masks"].any() or not len(label["cls"])
    height, width = label["shape"]
    polygons = [np.array(segment) * (width, height) for segment in label["segments"]]
    masks = [polygon2mask((height, width), [polygon.reshape(-1)]).astype(bool) for polygon in polygons]
    labels = [data["names"][int(number)] for number in label["cls"].ravel()]
    np.savez_compressed(out, labels=labels, masks=masks)


main(*sys.argv[1:])
