"""Whole files of every format to be damaged: what our writers make, what they cannot, and the tools' own samples."""

from __future__ import annotations

import base64
import io
import json
import re
import tempfile
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from active_learning.annotations import Annotation, Bitmap, Instance, Part, cvat, darwin, labelme, supervisely
from active_learning.annotations.supervisely_meta import write_meta
from active_learning.annotations.yolo import label_text
from active_learning.annotations.yolo_names import names_text

FORMATS = ("labelme", "darwin", "darwin1", "supervisely", "cvat", "cvat_images", "yolo")
HEIGHT, WIDTH = 40, 60
SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]
NUMBERS = {"healthy": 0, "damaged": 1, "caf\u00e9": 2, "matured": 3}
YOLO = "# remark\n0 0.1 0.1 0.5 0.1 0.5 0.6\n1 0.5 0.5 0.2 0.1\n0.0 1e-1 .2 1.05 0.2 -0.5 0.9 0.3 0.3\n1 0.2 0.2 0.3\n"
HOLE = [[15, 15], [25, 15], [25, 25], [15, 25]]
MASK = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)


@dataclass(frozen=True)
class Sample:
    """The files of a folder by their paths in it; `target` is the annotation, of the image of that name."""

    files: dict[str, bytes]
    target: str
    image: str


def corpus(shared: Path | None) -> dict[str, list[Sample]]:
    """Samples by format; always in the same order, those in the folder `shared` last."""
    samples = {
        "labelme": [_written(labelme), _json(_labelme())],
        "darwin": [_written(darwin), _json(_darwin())],
        "darwin1": [_json(_darwin1("polygon")), _json(_darwin1("complex_polygon"))],
        "supervisely": [_written_project(), _project(_supervisely()), _project(_supervisely_api())],
        "cvat": [_written(cvat, "a.xml"), _xml(CVAT)],
        "cvat_images": [_xml(CVAT_IMAGES)],
        "yolo": [_yolo(label_text(_annotation(), NUMBERS).text), _yolo(YOLO, "names: [healthy, damaged]\n")],
    }
    if shared is not None and shared.is_dir():
        for name, paths in _SHARED.items():
            samples[name] += [_of_folder(shared, path) for path in paths]
    return samples


_SHARED = {
    "labelme": ["labelme/potato_001.json", "labelme/potato_002.json", "labelme/with_image_data/potato_001.json"],
    "darwin": ["darwin/potato_001.json", "darwin/polygon_hole/potato_001.json"],
    "darwin1": ["darwin/legacy_v1/potato_001.json"],
    "supervisely": ["supervisely/ds1/ann/potato_001.png.json", "supervisely/ds1/ann/potato_003.png.json"],
    "cvat": [
        "cvat/labelme30_cvat/default/potato_001.xml",
        "cvat/labelme30_datumaro/Annotations/default/potato_001.xml",
    ],
    "cvat_images": ["cvat/images11_cvat/annotations.xml", "cvat/images11_datumaro/default.xml"],
}


def _of_folder(shared: Path, target: str) -> Sample:
    """A file of a tool with what belongs to it: masks, and the meta.json of a project."""
    root = shared / Path(*Path(target).parts[:1])
    kept = [*root.rglob("Masks/**/*.png"), *root.glob("meta.json"), shared / target]
    files = {path.relative_to(shared).as_posix(): path.read_bytes() for path in sorted(kept)}
    return Sample(files, target, Path(target).name.split(".")[0] + ".png")


def _annotation() -> Annotation:
    square, hole = np.array(SQUARE, dtype=float), np.array(HOLE, dtype=float)
    instances = (
        Instance("healthy", (Part(square),), score=0.75),
        Instance("damaged", (Part(square / 4), Part(square / 4 + [30, 2]))),
        Instance("caf\u00e9", (Part(square + [20, 0], (hole + [20, 0],)), Part(square / 5)), score=0.5),
        Instance("matured", (), Bitmap(3, 4, MASK)),
    )
    return Annotation("a.png", HEIGHT, WIDTH, instances)


def _written(codec: Any, target: str = "a.json", annotation: Annotation | None = None) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        codec.write(annotation or _annotation(), Path(folder) / target)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(Path(folder).rglob("*.*"))}
    return Sample({name: _same_each_time(content) for name, content in files.items()}, target, "a.png")


def _same_each_time(content: bytes) -> bytes:
    """With the ids 1, 2, 3, ... instead of random ones."""
    numbers = iter(range(1, 1000))
    pattern = rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    return re.sub(pattern, lambda _: str(uuid.UUID(int=next(numbers))).encode(), content)


def _json(document: Any) -> Sample:
    return Sample({"a.json": json.dumps(document).encode()}, "a.json", "a.png")


def _xml(text: str) -> Sample:
    return Sample(
        {"a.xml": text.encode(), "Masks/a_mask_1.png": _png(np.pad(MASK, ((4, 30), (3, 50))))}, "a.xml", "a.png"
    )


def _project(document: Any) -> Sample:
    return _in_project(json.dumps(document).encode())


def _written_project() -> Sample:
    return _in_project(_written(supervisely).files["a.json"])


def _in_project(content: bytes) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "meta.json"
        write_meta(path, ["healthy", "damaged"])
        meta = path.read_bytes()
    target = "project/ds/ann/a.png.json"
    return Sample({"project/meta.json": meta, target: content}, target, "a.png")


def _yolo(labels: str, names: str = "") -> Sample:
    """Beside the yaml file that names its classes."""
    data = names or names_text(list(NUMBERS), {"train": "images/train", "val": "images/val"}, "a remark")
    return Sample({"a.txt": labels.encode(), "data.yaml": data.encode()}, "a.txt", "a.png")


def _png(mask: np.ndarray, mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _labelme() -> dict[str, Any]:
    mask = {"points": [[5, 7], [11, 12]], "mask": _base64(_png(MASK))}
    one_bit = {"points": [[30.4, 7], [36, 12]], "mask": _base64(_png(MASK, "1"))}
    geometries: Iterable[tuple[str | None, dict[str, Any]]] = [
        ("polygon", {"points": SQUARE}),
        ("rectangle", {"points": [[1, 2], [9, 7]]}),
        ("oriented_rectangle", {"points": [[20, 10], [30, 20], [20, 30], [10, 20]]}),
        ("circle", {"points": [[30, 20], [35, 20]]}),
        ("mask", mask),
        ("mask", one_bit),
        (None, {"points": HOLE}),
        ("line", {"points": [[1, 1], [2, 2]]}),
        ("polygon", {"points": [[0, 0], [9, 9], [9, 0], [0, 9]]}),
    ]
    shapes = [
        {"label": "healthy", "group_id": (None, 0, 1, "a")[number % 4], "shape_type": kind, "flags": {}, **geometry}
        for number, (kind, geometry) in enumerate(geometries)
    ]
    top = {"version": "5.5.0", "flags": {}, "imagePath": "..\\a.png", "imageData": _base64(b"image" * 20)}
    return {**top, "shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH, "project": {"kept": [1, 2]}}


def _points(pairs: Iterable[Iterable[float]]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in pairs]


def _darwin() -> dict[str, Any]:
    slot = {
        "type": "image",
        "slot_name": "0",
        "width": WIDTH,
        "height": HEIGHT,
        "source_files": [{"file_name": "a.png"}],
    }
    box = {"x": 1, "y": 1, "w": 5, "h": 6}
    runs = [0, 125, 1, 5, 0, 55, 1, 5, 2, 60, 0, HEIGHT * WIDTH - 250]
    layer = {"dense_rle": runs, "total_pixels": HEIGHT * WIDTH, "mask_annotation_ids_mapping": {"m1": 1, "m2": 2}}
    overlapping = [_points(SQUARE), _points([[x + 5, y + 5] for x, y in SQUARE])]
    geometries: list[dict[str, Any]] = [
        {"polygon": {"paths": [_points(SQUARE), _points(HOLE)]}, "bounding_box": box},
        {"polygon": {"paths": overlapping}},
        {"bounding_box": box, "inference": {"confidence": 0.5, "model": {"id": "m"}}},
        {"ellipse": {"center": {"x": 30, "y": 20}, "radius": {"x": 9, "y": 5}, "angle": 0.57}},
        {"id": "m1", "mask": {}},
        {"id": "m2", "mask": {}},
        {"name": "__raster_layer__", "raster_layer": layer},
        {"tag": {}},
        {"skeleton": {"nodes": []}, "attributes": ["x"], "text": {"text": "y"}},
    ]
    entries = [{"id": f"i{n}", "name": "healthy", "slot_names": ["0"], **one} for n, one in enumerate(geometries)]
    second = {**slot, "slot_name": "1", "source_files": [{"file_name": "b.png", "url": None}]}
    item = {"name": "a", "path": "/field", "slots": [slot, second], "source_info": {"item_id": "x"}}
    return {"version": "2.0", "schema_ref": "x", "item": item, "annotations": entries}


def _darwin1(kind: str) -> dict[str, Any]:
    path: Any = _points(SQUARE) if kind == "polygon" else [_points(SQUARE), _points(HOLE)]
    polygon = {"path": path, "additional_paths": [_points([[x + 25, y] for x, y in SQUARE])]}
    entries = [
        {"name": "healthy", kind: polygon},
        {"name": "damaged", "bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}},
    ]
    image = {"original_filename": "a.png", "filename": "0.png", "width": WIDTH, "height": HEIGHT, "path": "/"}
    return {"dataset": "d", "image": image, "annotations": entries}


def _supervisely() -> dict[str, Any]:
    inner = {"exterior": SQUARE, "interior": [HOLE]}
    corners = {"exterior": [[1, 2], [9, 7]], "interior": []}
    bitmap = {"origin": [3, 4], "data": _base64(zlib.compress(_png(MASK, "RGBA")))}
    geometries: list[dict[str, Any]] = [
        {"geometryType": "polygon", "points": inner, "instance": "x"},
        {"geometryType": "rectangle", "points": corners, "instance": "x"},
        {"shape": "oriented_bbox", "points": corners, "angle": 0.5},
        {"geometryType": "bitmap", "bitmap": bitmap},
        {"geometryType": "alpha_mask", "alpha_mask": {**bitmap, "data": _base64(_png(MASK))}},
        {"geometryType": "multipolygon", "parts": [inner, corners | {"exterior": [[x, y + 9] for x, y in SQUARE]}]},
        {"points": inner},
        {"bitmap": bitmap, "tags": [{"name": "@label-group-id", "value": 5}, {"name": "confidence", "value": 0.5}]},
        {"geometryType": "line", "points": corners},
    ]
    objects = [{"classTitle": "healthy", "tags": [], "description": "", **geometry} for geometry in geometries]
    return {"size": {"height": HEIGHT, "width": WIDTH}, "tags": [], "objects": objects, "description": "kept"}


def _supervisely_api() -> dict[str, Any]:
    document = _supervisely()
    document["objects"][0]["points"]["exterior"] = [[x + 0.5, y] for x, y in SQUARE]
    return {"imageId": 5, "imageName": "a.png", "annotation": document}


def _pt(pairs: Iterable[Iterable[float]]) -> str:
    return "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in pairs)


_PARTS = "<parts><hasparts>{}</hasparts><ispartof>{}</ispartof></parts>"
CVAT = f"""<annotation><filename>a.png</filename><folder></folder>
<source><sourceImage></sourceImage></source><imagesize><nrows>{HEIGHT}</nrows><ncols>{WIDTH}</ncols></imagesize>
<object><name>healthy</name><deleted>0</deleted><id>0</id>{_PARTS.format("1,3", "")}
<polygon>{_pt(SQUARE)}</polygon><attributes>score=0.5, a="1\\,2"</attributes></object>
<object><name>healthy</name><id>1</id>{_PARTS.format("", "0")}
<segm><mask>a_mask_1.png</mask><box><xmin>3.0</xmin></box></segm></object>
<object><name>damaged</name><type>bounding_box</type><id>2</id>
<polygon>{_pt(SQUARE)}</polygon><attributes>rotation=30.0</attributes></object>
<object><name>healthy</name><deleted>1</deleted><id>3</id><polygon>{_pt(HOLE)}</polygon></object>
<object><name>damaged</name><type>bounding_box</type><id>4</id><polygon>{_pt(SQUARE[::2])}</polygon></object>
<verified>kept</verified></annotation>"""

_POLYGON = ";".join(f"{x},{y}" for x, y in SQUARE)
_IMAGE = f'width="{WIDTH}" height="{HEIGHT}"'
CVAT_IMAGES = f"""<annotations><version>1.1</version><meta><project><name>p</name></project></meta>
<image id="0" name="field/a.png" subset="train" {_IMAGE}>
<polygon label="healthy" points="{_POLYGON}" group_id="1" occluded="0" z_order="0"/>
<mask label="healthy" rle="0,7,2,3,2,7,0,21" left="3" top="4" width="7" height="6" group_id="1"/>
<box label="damaged" xtl="1.0" ytl="2.0" xbr="9.5" ybr="8.0" rotation="30"/>
<ellipse label="damaged" cx="30" cy="20" rx="9" ry="5" rotation="10.5"/>
<polyline label="damaged" points="1,2;3,4"/><tag label="damaged"/>
<skeleton label="damaged"><points label="a" points="1,2"/></skeleton></image>
<image id="3" name="field/a.png" subset="test" {_IMAGE}/><image id="4" name="b.png" {_IMAGE}/></annotations>"""
