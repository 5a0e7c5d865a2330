"""Supervisely's SDK on a project with one image: python supervisely_project.py FOLDER OUT.npz"""

import sys

import numpy as np
import supervisely as sly


def main(folder, out):
    project = sly.Project(folder, sly.OpenMode.READ)
    (dataset,) = project.datasets
    (name,) = list(dataset)
    annotation = dataset.get_ann(name, project.meta)
    written = len(sly.json.load_json_file(dataset.get_ann_path(name))["objects"])
    assert len(annotation.labels) == written, "an object was cropped away"
    masks = [label.geometry.get_mask(annotation.img_size) for label in annotation.labels]
    np.savez_compressed(out, labels=[label.obj_class.name for label in annotation.labels], masks=masks)


main(*sys.argv[1:])
