from __future__ import annotations

import itertools
import logging
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from detectron2.config import CfgNode, get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from detectron2.data.build import filter_images_with_only_crowd_annotations, worker_init_reset_seed
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler


def _draw(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "random": float(np.random.rand()), "threads": cv2.getNumThreads()}


class _Stream(IterableDataset):
    def __iter__(self):
        return ({"id": i, "width": 2, "height": 1} for i in itertools.count())


@pytest.fixture
def cfg(small_dataset: str) -> CfgNode:
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (small_dataset,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TEST = 40
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    return cfg


def _images(number: int) -> list[dict[str, Any]]:
    return [{"id": i, "width": 2, "height": 1} for i in range(number)]


def test_images_without_objects_are_left_out(small_dataset: str) -> None:
    assert [d["image_id"] for d in get_detection_dataset_dicts(small_dataset)] == [3]
    assert [d["image_id"] for d in get_detection_dataset_dicts([small_dataset], filter_empty=False)] == [1, 2, 3]
    assert len(get_detection_dataset_dicts([small_dataset] * 2, filter_empty=False)) == 6


def test_crowds_do_not_count_as_objects() -> None:
    annotations = [[], [{"iscrowd": 1}], [{"iscrowd": 1}, {"iscrowd": 0}], [{}]]
    kept = filter_images_with_only_crowd_annotations([{"annotations": a} for a in annotations])
    assert [d["annotations"] for d in kept] == annotations[2:]


@pytest.mark.parametrize(
    ("names", "dicts", "text"),
    [([], [], "DATASETS"), (["test_faulty"], [], "is empty"), (["test_faulty"], [{"annotations": []}], "no image")],
    ids=["no name", "no image", "no object"],
)
def test_nothing_to_train_on(names: list[str], dicts: list[dict], text: str) -> None:
    DatasetCatalog.register("test_faulty", lambda: dicts)
    try:
        with pytest.raises(ValueError, match=text):
            get_detection_dataset_dicts(names)
    finally:
        DatasetCatalog.remove("test_faulty")


def test_histogram(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("detectron2").propagate = True
    dicts = [{"annotations": [{"category_id": 1}, {"category_id": 1}, {"category_id": 0, "iscrowd": 1}]}]
    with caplog.at_level(logging.INFO):
        print_instances_class_histogram(dicts, ["fig", "date"])
    row = caplog.messages[-1].splitlines()[-1]
    assert [cell for cell in row.replace("|", " ").split() if cell.isalnum()] == ["fig", "0", "date", "2", "total", "2"]
    with pytest.raises(ValueError, match=r"\[1\]"):
        print_instances_class_histogram(dicts, ["fig"])


def test_train_loader_from_config(cfg: CfgNode) -> None:
    batches = list(itertools.islice(build_detection_train_loader(cfg), 3))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert batches[0][0]["image"].shape == (3, 40, 60)
    assert len(batches[0][0]["instances"]) == 2


def test_arguments_override_the_config(cfg: CfgNode) -> None:
    loader = build_detection_train_loader(cfg, mapper=_draw, dataset=_images(4), sampler=TrainingSampler(4, False))
    assert [image["id"] for image in next(iter(loader))] == [0, 1]


def test_test_loader_from_config(cfg: CfgNode, small_dataset: str) -> None:
    loader = build_detection_test_loader(cfg, small_dataset)
    assert [batch[0]["image_id"] for batch in loader] == [1, 2, 3]
    assert len(loader) == 3


@pytest.mark.parametrize(
    ("device", "cuda", "pinned"), [("cuda", True, True), ("cpu", True, False), ("cuda", False, False)]
)
def test_images_wait_in_pinned_memory_for_a_gpu(
    cfg: CfgNode, small_dataset: str, monkeypatch: pytest.MonkeyPatch, device: str, cuda: bool, pinned: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    cfg.MODEL.DEVICE, cfg.DATALOADER.ASPECT_RATIO_GROUPING = device, False
    assert build_detection_train_loader(cfg).pin_memory == pinned
    assert build_detection_test_loader(cfg, small_dataset).pin_memory == pinned


@pytest.mark.parametrize(
    ("name", "kind"),
    [("TrainingSampler", TrainingSampler), ("RepeatFactorTrainingSampler", RepeatFactorTrainingSampler)],
)
def test_sampler_of_the_config(cfg: CfgNode, name: str, kind: type) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = name
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    assert isinstance(build_detection_train_loader(cfg).dataset.sampler, kind)


def test_unknown_sampler(cfg: CfgNode) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = "Sampler"
    with pytest.raises(ValueError, match="RepeatFactorTrainingSampler"):
        build_detection_train_loader(cfg)


def test_proposals_are_refused(cfg: CfgNode, small_dataset: str) -> None:
    cfg.MODEL.LOAD_PROPOSALS = True
    with pytest.raises(NotImplementedError, match="LOAD_PROPOSALS"):
        build_detection_train_loader(cfg)
    with pytest.raises(NotImplementedError, match="LOAD_PROPOSALS"):
        build_detection_test_loader(cfg, small_dataset)


@pytest.mark.parametrize("grouping", [True, False])
def test_stream_has_its_own_order(grouping: bool) -> None:
    arguments: dict[str, Any] = {"mapper": None, "total_batch_size": 2, "aspect_ratio_grouping": grouping}
    batches = build_detection_train_loader(_Stream(), **arguments)
    assert [image["id"] for image in next(iter(batches))] == [0, 1]
    with pytest.raises(ValueError, match="sampler"):
        build_detection_train_loader(_Stream(), sampler=TrainingSampler(3), **arguments)


@pytest.mark.parametrize("grouping", [True, False])
def test_collate(grouping: bool) -> None:
    loader = build_detection_train_loader(
        _images(4),
        mapper=None,
        sampler=TrainingSampler(4, shuffle=False),
        total_batch_size=2,
        aspect_ratio_grouping=grouping,
        collate_fn=len,
    )
    assert next(iter(loader)) == 2


def test_batch_size_must_be_positive() -> None:
    with pytest.raises(AssertionError, match="0 images"):
        build_detection_train_loader(_images(4), mapper=None, total_batch_size=0)


def test_workers_sample_different_numbers_and_leave_the_cores_alone() -> None:
    torch.manual_seed(3)
    loader = build_detection_train_loader(
        _images(8), mapper=_draw, sampler=TrainingSampler(8, shuffle=False), total_batch_size=4, num_workers=2
    )
    batch = next(iter(loader))
    assert [image["id"] for image in batch] == [0, 1, 2, 3]
    assert len({image["random"] for image in batch}) == 4
    assert {image["threads"] for image in batch} == {1}


def test_test_workers_keep_the_order_twice() -> None:
    loader = build_detection_test_loader(_images(5), mapper=_draw, num_workers=2, batch_size=2)
    for _ in range(2):
        assert [[image["id"] for image in batch] for batch in loader] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_test_loader_samples_nothing_from_the_training(num_workers: int) -> None:
    before = torch.get_rng_state()
    loader = build_detection_test_loader(_images(3), mapper=None, num_workers=num_workers)
    for _ in range(2):
        assert len(list(loader)) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_worker_seed_follows_torch() -> None:
    sampled = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        worker_init_reset_seed(0)
        sampled.append(float(np.random.rand()))
    assert sampled[0] == sampled[1] != sampled[2]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_last_batch_is_left_out_or_not(num_workers: int, drop_last: bool) -> None:
    data = DatasetFromList(list(range(11)))
    loader = build_batch_data_loader(data, InferenceSampler(11), 4, num_workers=num_workers, drop_last=drop_last)
    for _ in range(2):
        assert list(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], *([] if drop_last else [[8, 9, 10]])]


def test_batches_of_like_aspect_ratio_are_always_full() -> None:
    with pytest.raises(ValueError, match="drop_last"):
        build_batch_data_loader(_images(3), TrainingSampler(3), 2, aspect_ratio_grouping=True, drop_last=False)


@pytest.mark.parametrize("grouping", [True, False])
def test_options_of_the_data_loader(grouping: bool) -> None:
    options: dict[str, Any] = {"num_workers": 1, "prefetch_factor": 3, "persistent_workers": True}
    arguments: dict[str, Any] = {"mapper": None, "total_batch_size": 2, "aspect_ratio_grouping": grouping}
    loader: Any = build_detection_train_loader(_images(4), **arguments, **options)
    loader = loader.dataset if grouping else loader
    assert (loader.prefetch_factor, loader.persistent_workers) == (3, True)


def _read_large_images(worker_id: int) -> None:
    cv2.setNumThreads(3 + worker_id)


@pytest.mark.parametrize("grouping", [True, False])
def test_a_function_of_ones_own_for_workers_comes_after_the_loaders(grouping: bool) -> None:
    options: dict[str, Any] = {"aspect_ratio_grouping": grouping, "worker_init_fn": _read_large_images}
    sampled = []
    for _ in range(2):
        torch.manual_seed(3)
        loader = build_detection_train_loader(
            _images(8), mapper=_draw, sampler=TrainingSampler(8, seed=1), total_batch_size=4, num_workers=1, **options
        )
        sampled.append(next(iter(loader)))
    assert {image["threads"] for image in sampled[0]} == {3}
    assert sampled[0] == sampled[1]


@pytest.mark.parametrize("grouping", [True, False])
def test_a_second_batch_size_is_refused(grouping: bool) -> None:
    data, options = DatasetFromList(_images(4)), {"aspect_ratio_grouping": grouping, "batch_size": 3}
    with pytest.raises(TypeError, match="batch_size"):
        build_batch_data_loader(data, TrainingSampler(4), 2, **options)
