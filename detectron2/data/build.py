"""From data set names or a config to loaders."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import cv2
import torch
import torch.utils.data as torchdata
from termcolor import colored

from detectron2.config import CfgNode, configurable
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.resumable_loader import ResumableLoader
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.data.worker_start import worker_start_method
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.errors import InputError
from detectron2.utils.logger import create_class_table
from detectron2.utils.serialize import PicklableWrapper

__all__ = [
    "build_batch_data_loader", "build_detection_test_loader", "build_detection_train_loader",
    "get_detection_dataset_dicts", "print_instances_class_histogram",
]  # fmt: skip

logger = logging.getLogger(__name__)

Collate = Callable[[list[Any]], Any]


def filter_images_with_only_crowd_annotations(dataset_dicts: list[dict]) -> list[dict]:
    """Leave out images without any annotation that is not a crowd; there is nothing to learn from those."""
    kept = [d for d in dataset_dicts if any(a.get("iscrowd", 0) == 0 for a in d["annotations"])]
    removed = len(dataset_dicts) - len(kept)
    logger.info("Removed %d images with no usable annotations. %d images left.", removed, len(kept))
    return kept


def print_instances_class_histogram(dataset_dicts: list[dict], class_names: Sequence[str]) -> None:
    """Log how many objects each class has, crowds left out; ValueError for a category_id that is no class."""
    annotations = [annotation for d in dataset_dicts for annotation in d["annotations"]]
    counts = Counter(annotation["category_id"] for annotation in annotations if not annotation.get("iscrowd", 0))
    unknown = sorted(set(counts) - set(range(len(class_names))))
    if unknown:
        raise InputError(f"category_id {unknown} of the annotations are not in [0, {len(class_names)}) as the classes")
    by_class = [(name[:20], counts[i]) for i, name in enumerate(class_names)]
    if len(class_names) > 1:
        by_class.append(("total", sum(counts.values())))
    table = create_class_table(by_class, "#instances", stralign="center")
    logger.info("Distribution of instances among all %d categories:\n%s", len(class_names), colored(table, "cyan"))


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> list[dict]:
    """Load data sets by name and join them.

    Args:
        names: one name or several.
        filter_empty: leave out images without objects.
        min_keypoints, proposal_files: must keep their defaults.
        check_consistency: check that the data sets have the same classes.

    Raises:
        NotImplementedError: keypoints or precomputed proposals are requested.
        ValueError: no names, an empty data set, different classes.
    """
    if min_keypoints or proposal_files:
        raise NotImplementedError("keypoints and precomputed proposals are not supported")
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise InputError("no data set given: set DATASETS.TRAIN or DATASETS.TEST")
    loaded = {name: DatasetCatalog.get(name) for name in names}
    for name, dicts in loaded.items():
        if not dicts:
            raise InputError(f"data set '{name}' is empty")
    dataset_dicts = [d for name in names for d in loaded[name]]
    annotated = "annotations" in dataset_dicts[0]
    if filter_empty and annotated:
        dataset_dicts = filter_images_with_only_crowd_annotations(dataset_dicts)
    if not dataset_dicts:
        raise InputError(f"no image of {', '.join(names)} has an annotated object")
    class_names = MetadataCatalog.get(names[0]).get("thing_classes")
    all_know = all(MetadataCatalog.get(name).get("thing_classes") is not None for name in names)
    if annotated and check_consistency and all_know:
        check_metadata_consistency("thing_classes", names)
        print_instances_class_histogram(dataset_dicts, class_names)
    return dataset_dicts


def build_batch_data_loader(
    dataset: torchdata.Dataset,
    sampler: torchdata.Sampler | None,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    drop_last: bool = True,
    **kwargs: Any,
) -> Iterable[Any]:
    """An iterable of batches; arguments as of build_detection_train_loader, a stream takes no sampler.

    `drop_last` leaves out the images that do not fill a last batch.

    Raises ValueError where the processes cannot share `total_batch_size` equally, and where batches of like aspect
    ratio, which are always full, are to be had with `drop_last` False.
    """
    world_size = comm.get_world_size()
    if total_batch_size <= 0 or total_batch_size % world_size:
        raise InputError(f"a batch of {total_batch_size} images cannot be shared equally by {world_size} processes")
    if aspect_ratio_grouping and not drop_last:
        raise InputError("aspect_ratio_grouping makes full batches only: it needs drop_last=True")
    batch_size = total_batch_size // world_size
    _check_sampler(dataset, sampler)
    if sampler is not None:
        # Workers take whole batches, so that their number does not change which images make a batch.
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=1 if aspect_ratio_grouping else batch_size)
    kind: Any = ResumableLoader if isinstance(dataset, ToIterableDataset) else torchdata.DataLoader
    kwargs.setdefault("multiprocessing_context", worker_start_method(num_workers))
    own_init = kwargs.pop("worker_init_fn", None)
    init = partial(_init_worker, None if own_init is None else PicklableWrapper(own_init))
    loader = partial(kind, num_workers=num_workers, worker_init_fn=init)
    if not aspect_ratio_grouping:
        collate = collate_fn or trivial_batch_collator
        return loader(dataset, batch_size=batch_size, drop_last=drop_last, collate_fn=collate, **kwargs)
    # Workers send single images: only here, where all arrive, can they be grouped.
    singles = loader(dataset, batch_size=None, collate_fn=trivial_batch_collator, **kwargs)
    batches: Any = AspectRatioGroupedDataset(singles, batch_size)
    if collate_fn is not None:
        batches = MapDataset(batches, collate_fn)
    return batches


def _check_sampler(dataset: Any, sampler: torchdata.Sampler | None) -> None:
    if isinstance(dataset, torchdata.IterableDataset) != (sampler is None):
        raise InputError("a stream has its own order and takes no sampler, any other data set needs one")


def _mapped(dataset: Any, mapper: Callable[[dict], Any] | None) -> Any:
    data = DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset
    return data if mapper is None else MapDataset(data, mapper)


def _make_train_sampler(cfg: CfgNode, dataset: Any) -> torchdata.Sampler | None:
    if isinstance(dataset, torchdata.IterableDataset):
        return None
    name = cfg.DATALOADER.SAMPLER_TRAIN
    logger.info("Using training sampler %s", name)
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset))
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors)
    raise ValueError(
        f"unknown DATALOADER.SAMPLER_TRAIN '{name}': use TrainingSampler or RepeatFactorTrainingSampler, "
        "or give build_detection_train_loader a sampler"
    )


def _check_proposals(cfg: CfgNode) -> None:
    if cfg.MODEL.LOAD_PROPOSALS:
        raise NotImplementedError("precomputed proposals are not supported: set MODEL.LOAD_PROPOSALS to False")


def _feeds_a_gpu(cfg: CfgNode) -> bool:
    return cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available()


def _train_loader_from_config(
    cfg: CfgNode,
    mapper: Callable[[dict], Any] | None = None,
    *,
    dataset: Any = None,
    sampler: torchdata.Sampler | None = None,
) -> dict[str, Any]:
    _check_proposals(cfg)
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
        )
    return {
        "dataset": dataset,
        "sampler": _make_train_sampler(cfg, dataset) if sampler is None else sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "pin_memory": _feeds_a_gpu(cfg),
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Sequence[Any] | torchdata.Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: torchdata.Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    **kwargs: Any,
) -> Iterable[Any]:
    """An endless iterable of training batches. Call with a config or with explicit arguments.

    Args:
        dataset: list of dicts, or a data set.
        mapper: makes the network's input from a dict; None gives the dict itself.
        sampler: order of the indices, usually endless; None shuffles.
        total_batch_size: images in a batch of all processes together.
        aspect_ratio_grouping: batch landscape and portrait images apart; the items need "width" and "height".
        num_workers: worker processes of each process; 0 loads in this one.
        collate_fn: makes a batch from a list; None keeps the list.
        kwargs: `drop_last`, and torch's DataLoader's, such as `pin_memory` and `prefetch_factor`. From `generator` the
            seeds of the passes are sampled, `worker_init_fn` is called after the worker's generators are seeded, and
            `persistent_workers` last for a pass.
    """
    data = _mapped(dataset, mapper)
    if sampler is None and not isinstance(data, torchdata.IterableDataset):
        sampler = TrainingSampler(len(data))
    options: dict[str, Any] = {
        "aspect_ratio_grouping": aspect_ratio_grouping,
        "num_workers": num_workers,
        "collate_fn": collate_fn,
    }
    return build_batch_data_loader(data, sampler, total_batch_size, **options, **kwargs)


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | Sequence[str], mapper: Callable[[dict], Any] | None = None
) -> dict[str, Any]:
    _check_proposals(cfg)
    return {
        "dataset": get_detection_dataset_dicts(dataset_name, filter_empty=False),
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "pin_memory": _feeds_a_gpu(cfg),
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: Sequence[Any] | torchdata.Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: torchdata.Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    pin_memory: bool = False,
) -> torchdata.DataLoader:
    """A loader that gives each image once. Call with a config and a name, or with explicit arguments.

    Args: as of build_detection_train_loader, but
        sampler: None splits all images over the processes.
        batch_size: images in a batch of this process.
        num_workers: they stay until the loader is gone.
    """
    data = _mapped(dataset, mapper)
    if sampler is None and not isinstance(data, torchdata.IterableDataset):
        sampler = InferenceSampler(len(data))
    _check_sampler(data, sampler)
    return torchdata.DataLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        multiprocessing_context=worker_start_method(num_workers),
        collate_fn=collate_fn or trivial_batch_collator,
        worker_init_fn=_limit_worker_threads,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        # its own, so that an evaluation within a training does not change the training's random numbers
        generator=torch.Generator(),
    )


def trivial_batch_collator(batch: Any) -> Any:
    """The list itself: images of different sizes are stacked by the network."""
    return batch


def _limit_worker_threads(worker_id: int) -> None:
    # Each worker would otherwise start as many OpenCV threads as there are cores.
    cv2.setNumThreads(0)


def _init_worker(own: Callable[[int], Any] | None, worker_id: int) -> None:
    worker_init_reset_seed(worker_id)
    if own is not None:
        own(worker_id)


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed Python's, numpy's and PyTorch's generators of a worker process from the loader's seed."""
    _limit_worker_threads(worker_id)
    # In a worker, torch's seed is the loader's plus worker_id: numpy and random do not follow it by themselves.
    seed_all_rng(torch.initial_seed() % 2**31)
