from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from active_learning.annotations import Annotation
from active_learning.annotations.contours import instance_mask
from active_learning.network.image_batches import UnreadableImage
from active_learning.network.pre_labelling import PreLabeller, instances_of
from active_learning.network.prediction import detect, read_input
from active_learning.sampling.observations import Mask
from detectron2.modeling import build_model
from detectron2.structures import Instances

CLASSES = ("square", "disc", "never")


def detections() -> Instances:
    whole = np.zeros((3, 20, 30), dtype=bool)
    whole[0, 4:9, 10:12] = True
    whole[2, 0, 0] = True
    masks = [Mask.cut(0, 0, mask) for mask in whole]
    scores = torch.tensor([0.9, 0.8, 0.7])
    return Instances((20, 30), masks=masks, pred_classes=torch.tensor([1, 0, 2]), scores=scores)


def test_detections_become_bitmaps_with_label_and_score():
    first, last = instances_of(detections(), CLASSES, frozenset(CLASSES))
    assert (first.label, last.label) == ("disc", "never")
    assert first.score == pytest.approx(0.9)
    assert (first.bitmap.x, first.bitmap.y, first.bitmap.mask.shape) == (10, 4, (5, 2))
    assert instance_mask(first, 20, 30)[4:9, 10:12].all()


def test_only_wanted_classes_are_kept():
    assert [one.label for one in instances_of(detections(), CLASSES, frozenset(["never"]))] == ["never"]


def folder_of_images(folder) -> list[str]:
    rng = np.random.default_rng(1)
    names = []
    for number, size in enumerate([(64, 64), (40, 90), (64, 64), (64, 64), (90, 40)]):
        names.append(f"{number}.png")
        cv2.imwrite(str(folder / names[-1]), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
    return names


def test_a_folder_is_predicted_as_image_by_image(make_cfg, tmp_path):
    names, cfg = folder_of_images(tmp_path), make_cfg()
    (tmp_path / "1.png").write_bytes(b"broken")
    model = build_model(cfg)
    found = {one.image if isinstance(one, Annotation) else one.name: one
             for one in PreLabeller(model, cfg, CLASSES, batch_size=2)(tmp_path, names)}  # fmt: skip
    assert sorted(found) == names
    assert isinstance(found.pop("1.png"), UnreadableImage)
    for name, annotation in found.items():
        alone = detect(model, read_input(tmp_path / name, cfg))
        assert (annotation.height, annotation.width) == alone.image_size
        visible = [mask for mask in alone.pred_masks if mask.any()]
        assert len(annotation.instances) == len(visible) > 0
        for one, mask in zip(annotation.instances, visible, strict=True):
            differing = instance_mask(one, *alone.image_size) != mask.numpy()
            assert differing.mean() < 0.01
