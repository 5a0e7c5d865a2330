"""darwin-py's parser, and what it would send to V7, on a file: python darwin_file.py FILE.json OUT.npz"""

import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from darwin.importer import importer
from darwin.utils import parse_darwin_json
from upolygon import draw_polygon


def payload(annotations):
    """What the importer sends, for a team in which every class exists."""
    classes = defaultdict(dict)
    for annotation in annotations:
        kind = annotation.annotation_class
        classes[kind.annotation_internal_type or kind.annotation_type][kind.name] = kind.name
    sent = []
    dataset = SimpleNamespace(version=2, import_annotation=lambda item_id, payload: sent.append(payload))
    errors, _ = importer._import_annotations(
        None, "item", classes, {}, annotations, [], "0", dataset, append=False, delete_for_empty=False,
        import_annotators=False, import_reviewers=False, annotation_id_property_map={}, item_properties_lookup={},
    )  # fmt: skip
    assert not errors, errors
    return sent[0]["annotations"]


def main(file, out):
    item = parse_darwin_json(Path(file))
    assert item.filename, "no file name"
    assert len(payload(item.annotations)) == len(item.annotations)
    height, width = item.image_height, item.image_width
    masks = []
    for annotation in item.annotations:
        paths = annotation.data["paths"]
        assert all(len(path) >= 3 for path in paths)
        canvas = np.zeros((height, width), np.uint8)
        draw_polygon(canvas, [[value for point in path for value in (point["x"], point["y"])] for path in paths], 1)
        masks.append(canvas.astype(bool))
    np.savez_compressed(out, labels=[one.annotation_class.name for one in item.annotations], masks=masks)


main(*sys.argv[1:])
