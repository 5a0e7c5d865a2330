from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import convert_to_coco_dict, convert_to_coco_json, load_coco_json
from detectron2.structures import BoxMode


def test_records(coco_content: dict[str, Any], small_dataset: str) -> None:
    records = DatasetCatalog.get(small_dataset)
    assert [record["image_id"] for record in records] == [1, 2, 3]
    assert Path(records[0]["file_name"]).is_file()
    assert (records[0]["height"], records[0]["width"]) == (40, 60)
    assert records[2]["annotations"][0] == {
        "iscrowd": 0,
        "bbox": [10, 10, 20, 20],
        "category_id": 1,
        "segmentation": coco_content["annotations"][0]["segmentation"],
        "bbox_mode": BoxMode.XYWH_ABS,
    }
    assert records[1]["annotations"] == []


def test_classes_are_ordered_by_id(small_dataset: str) -> None:
    DatasetCatalog.get(small_dataset)
    metadata = MetadataCatalog.get(small_dataset)
    assert metadata.thing_classes == ["date", "fig"]
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 0, 7: 1}


def test_uncompressed_run_lengths_are_compressed(small_dataset: str) -> None:
    mask = mask_util.decode(DatasetCatalog.get(small_dataset)[0]["annotations"][0]["segmentation"])
    expected = np.zeros((40, 60), np.uint8)
    expected[:4, :4] = 1
    np.testing.assert_array_equal(mask, expected)


def test_without_a_name_category_ids_stay(coco_content: dict, write_coco: Callable[[dict], Path]) -> None:
    path = write_coco(coco_content)
    coco_content["annotations"][0]["score"] = 0.5
    path.write_text(json.dumps(coco_content), encoding="utf-8")
    annotation = load_coco_json(path, path.parent, extra_annotation_keys=["score"])[2]["annotations"][0]
    assert annotation["category_id"] == 7
    assert annotation["score"] == 0.5


def test_polygons_of_two_points_are_left_out(coco_content: dict, write_coco: Callable[[dict], Path]) -> None:
    coco_content["annotations"][0]["segmentation"].append([1, 1, 2, 2])
    coco_content["annotations"][1]["segmentation"] = [[1, 1, 2, 2]]
    path = write_coco(coco_content)
    annotations = load_coco_json(path, path.parent)[2]["annotations"]
    assert len(annotations) == 1
    assert len(annotations[0]["segmentation"]) == 1


def _change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        *parents, last = path.split("/")
        for key in parents:
            content = content[int(key) if key.isdigit() else key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_change("images", None), "'images'"),
        (_change("categories", None), "'categories'"),
        (_change("categories/0/id", 2), "two categories"),
        (_change("images/0/id", 1), "two images"),
        (_change("annotations/1/id", 1), "two annotations"),
        (_change("annotations/1/image_id", 9), r"annotations\[1\]: no image has the id 9"),
        (_change("annotations/1/category_id", 5), "category_id 5"),
        (_change("annotations/1/bbox", [1, 2]), r"annotations\[1\]: 'bbox'"),
        (_change("annotations/1/ignore", 1), r"annotations\[1\]: 'ignore'"),
        (_change("annotations/1/bbox", None), "not in COCO format: TypeError"),
        (lambda content: content["annotations"].append(7), "not in COCO format: TypeError"),
        (_change("annotations/1/segmentation", {"size": [2, 2]}), "not in COCO format: KeyError: 'counts'"),
        (lambda content: content["images"].append({"id": 77}), "not in COCO format: KeyError: 'file_name'"),
        (_change("images/0/id", "a"), "not in COCO format: TypeError|no image has the id"),
    ],
    ids=[
        "images",
        "categories",
        "class id",
        "image id",
        "id",
        "no image",
        "no class",
        "box",
        "ignore",
        "no box",
        "no annotation",
        "no counts",
        "no file name",
        "mixed ids",
    ],
)
def test_faulty_json(
    coco_content: dict, write_coco: Callable[[dict], Path], change: Callable[[dict], None], text: str
) -> None:
    path = write_coco(coco_content)
    change(coco_content)
    path.write_text(json.dumps(coco_content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"coco\.json.*{text}"):
        load_coco_json(path, path.parent, "test_faulty_json")
    if "test_faulty_json" in MetadataCatalog:
        MetadataCatalog.remove("test_faulty_json")


def test_broken_json(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"images": [', encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.json: not a json file"):
        load_coco_json(path, tmp_path)


def test_conversion_gives_back_the_json(coco_content: dict, small_dataset: str, tmp_path: Path) -> None:
    output = tmp_path / "new" / "converted.json"
    convert_to_coco_json(small_dataset, output)
    converted = json.loads(output.read_text(encoding="utf-8"))
    assert converted["categories"] == [{"id": 2, "name": "date"}, {"id": 7, "name": "fig"}]
    assert [image["id"] for image in converted["images"]] == [1, 2, 3]
    crowd, square, triangle = converted["annotations"]
    for new, old in ((square, coco_content["annotations"][0]), (triangle, coco_content["annotations"][1])):
        assert {**new, "id": old["id"]} == old
    assert [a["id"] for a in converted["annotations"]] == [1, 2, 3]
    assert crowd["iscrowd"] == 1
    assert crowd["area"] == 16
    assert mask_util.area(crowd["segmentation"]) == 16
    assert [path.name for path in output.parent.iterdir()] == ["converted.json"]


@pytest.mark.parametrize("allow_cached", [True, False])
def test_conversion_may_keep_what_is_there(small_dataset: str, tmp_path: Path, allow_cached: bool) -> None:
    output = tmp_path / "converted.json"
    output.write_text("old", encoding="utf-8")
    convert_to_coco_json(small_dataset, output, allow_cached=allow_cached)
    assert (output.read_text(encoding="utf-8") == "old") == allow_cached


def test_conversion_of_a_dataset_without_ids_and_masks() -> None:
    annotation = {"bbox": [1, 2, 4, 8], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
    records = [{"file_name": "a", "height": 9, "width": 9, "annotations": [annotation]}]
    DatasetCatalog.register("test_plain", lambda: copy.deepcopy(records))
    MetadataCatalog.get("test_plain").thing_classes = ["a", "b"]
    try:
        converted = convert_to_coco_dict("test_plain")
    finally:
        DatasetCatalog.remove("test_plain")
        MetadataCatalog.remove("test_plain")
    assert converted["images"][0]["id"] == 0
    expected = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 6], "area": 18, "iscrowd": 0}
    assert converted["annotations"] == [expected]
