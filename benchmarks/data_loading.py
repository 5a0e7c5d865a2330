"""Time of making training images: decoding, enlarging, flipping and mask targets, beside torchvision's way to the same.

    python benchmarks/data_loading.py [--engine FOLDER] [--pairs N]

Both read the same JPEG files of 640 x 480 in one process without workers, enlarge them to 800 x 1067, flip half of
them, and make a 28 x 28 mask target of each of 10 polygons: torchvision as its detection models do, from bitmaps.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Call, compare
from training import CONFIG, HEIGHT, SHORTEST, WIDTH, drawn_objects

IMAGES, SIDE = 16, 28


@functools.cache
def drawn_files() -> list[Path]:
    """JPEG files with the smooth noise that photographs have; gone when the process ends."""
    import cv2

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    files = []
    for seed in range(IMAGES):
        coarse = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        files.append(Path(folder.name) / f"{seed}.jpg")
        cv2.imwrite(str(files[-1]), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return files


def engine_loading(device: str) -> Call:
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.data import DatasetMapper, build_detection_train_loader
    from detectron2.structures import BoxMode

    config = get_cfg()
    config.merge_from_file(model_zoo.get_config_file(CONFIG))
    config.INPUT.MIN_SIZE_TRAIN = (SHORTEST,)
    dicts = []
    for seed, file in enumerate(drawn_files()):
        annotations = [
            {
                "bbox": [*polygon.min(0), *polygon.max(0)],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": label,
                "segmentation": [polygon.reshape(-1).tolist()],
            }
            for label, polygon in drawn_objects(seed)
        ]
        size = {"height": HEIGHT, "width": WIDTH, "image_id": seed}
        dicts.append({"file_name": str(file), **size, "annotations": annotations})
    loader = build_detection_train_loader(dicts, mapper=DatasetMapper(config, True), total_batch_size=2, num_workers=0)
    batches = iter(loader)

    def load() -> None:
        for batch in itertools.islice(batches, IMAGES // 2):
            for record in batch:
                truth = record["instances"]
                truth.gt_masks.crop_and_resize(truth.gt_boxes.tensor, SIDE)

    return load


def torchvision_loading(device: str) -> Call:
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.ops import roi_align
    from torchvision.transforms import v2

    augment = v2.Compose([v2.Resize(SHORTEST, max_size=1333, antialias=True), v2.RandomHorizontalFlip()])

    def load() -> None:
        for seed, file in enumerate(drawn_files()):
            image = decode_image(str(file), ImageReadMode.RGB)
            _, truth = augment(image, torchvision_truth(seed))
            rows = torch.arange(len(truth["boxes"]), dtype=torch.float32)[:, None]
            regions = torch.cat((rows, truth["boxes"].as_subclass(torch.Tensor)), dim=1)
            roi_align(truth["masks"].as_subclass(torch.Tensor)[:, None].float(), regions, (SIDE, SIDE), 1.0)

    return load


def torchvision_truth(seed: int) -> dict[str, Any]:
    import torch
    from pycocotools import mask as coco_mask
    from torchvision import tv_tensors

    objects = drawn_objects(seed)
    runs = coco_mask.frPyObjects([polygon.reshape(-1).tolist() for _, polygon in objects], HEIGHT, WIDTH)
    corners = torch.tensor(np.array([[*polygon.min(0), *polygon.max(0)] for _, polygon in objects]))
    return {
        "boxes": tv_tensors.BoundingBoxes(corners.float(), format="XYXY", canvas_size=(HEIGHT, WIDTH)),  # type: ignore
        "masks": tv_tensors.Mask(torch.as_tensor(coco_mask.decode(runs)).permute(2, 0, 1)),
        "labels": torch.tensor([label for label, _ in objects]),
    }


if __name__ == "__main__":
    title = f"Data loading, {IMAGES} images of {WIDTH} x {HEIGHT} to {SHORTEST} x 1067 with masks, one process"
    compare(title, __doc__, {"engine": engine_loading, "torchvision": torchvision_loading}, IMAGES)
