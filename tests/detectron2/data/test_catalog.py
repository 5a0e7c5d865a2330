from __future__ import annotations

from collections.abc import Iterator

import pytest

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog


@pytest.fixture
def registered() -> Iterator[str]:
    DatasetCatalog.register("test_catalog", lambda: [{"image_id": 1}])
    yield "test_catalog"
    if "test_catalog" in DatasetCatalog:
        DatasetCatalog.remove("test_catalog")


def test_get_calls_the_registered_function(registered: str) -> None:
    assert DatasetCatalog.get(registered) == [{"image_id": 1}]
    assert registered in DatasetCatalog.list()


def test_a_name_is_registered_once(registered: str) -> None:
    with pytest.raises(AssertionError, match=registered):
        DatasetCatalog.register(registered, list)


def test_what_is_registered_must_be_callable() -> None:
    with pytest.raises(TypeError, match="not_callable"):
        DatasetCatalog.register("not_callable", [{}])


def test_removed_name_is_unknown_and_the_error_lists_the_others(registered: str) -> None:
    DatasetCatalog.remove(registered)
    with pytest.raises(KeyError, match="coco_2017_val"):
        DatasetCatalog.get(registered)


def test_metadata_is_one_object_by_name() -> None:
    MetadataCatalog.get("test_metadata").thing_classes = ["a"]
    assert MetadataCatalog.get("test_metadata").thing_classes == ["a"]
    assert MetadataCatalog.get("test_metadata").name == "test_metadata"
    MetadataCatalog.remove("test_metadata")
    assert "test_metadata" not in MetadataCatalog.list()


def test_metadata_keeps_its_first_value() -> None:
    metadata = Metadata(name="m").set(thing_classes=["a"])
    metadata.thing_classes = ["a"]
    with pytest.raises(AssertionError, match="thing_classes"):
        metadata.thing_classes = ["b"]


def test_missing_metadata_is_named_with_what_is_there() -> None:
    metadata = Metadata(name="m", json_file="x.json")
    with pytest.raises(AttributeError, match=r"thing_classes.*json_file"):
        _ = metadata.thing_classes
    assert metadata.get("thing_classes") is None
    assert metadata.as_dict() == {"name": "m", "json_file": "x.json"}


@pytest.mark.parametrize("split", ["train", "val", "test", "test-dev", "val_100"])
def test_coco_is_built_in(split: str) -> None:
    metadata = MetadataCatalog.get(f"coco_2017_{split}")
    assert f"coco_2017_{split}" in DatasetCatalog.list()
    assert len(metadata.thing_classes) == len(metadata.thing_colors) == 80
    assert metadata.thing_dataset_id_to_contiguous_id[90] == metadata.thing_classes.index("toothbrush") == 79
    assert metadata.thing_classes[50] == "broccoli"
    assert metadata.evaluator_type == "coco"
