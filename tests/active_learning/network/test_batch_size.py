from __future__ import annotations

import pytest
import torch

from active_learning.network import batch_size
from active_learning.network.batch_size import largest, largest_batch_that_fits, largest_size
from detectron2.engine import SimpleTrainer
from detectron2.structures import BitMasks, PolygonMasks


@pytest.mark.parametrize("room", [0, 1, 2, 3, 5, 8, 11, 16, 40])
@pytest.mark.parametrize("most", [1, 7, 16])
def test_the_largest_number_that_fits(room, most):
    tried = []

    def fits(count):
        tried.append(count)
        return count <= room

    assert largest(fits, most) == min(room, most)
    assert max(tried) <= most
    assert len(tried) <= 10


@pytest.mark.parametrize(
    ("values", "size"),
    [({}, (64, 96)), ({"tile_size": 512}, (64, 64)), ({"tile_size": 512, "image_min_size": 96}, (96, 96))],
    ids=["images", "tiles", "larger tiles"],
)
def test_tiles_are_squares(make_cfg, values, size):
    assert largest_size(make_cfg(**{"image_min_size": 64, "image_max_size": 96, **values})) == size


@pytest.mark.parametrize(("mask_format", "masks"), [("polygon", PolygonMasks), ("bitmask", BitMasks)])
def test_steps_on_the_largest_images_are_tried(make_cfg, monkeypatch, mask_format, masks):
    """A GPU that has room for three of them."""
    monkeypatch.setattr(batch_size, "OBJECTS", 9)
    cfg, run_step, sizes = make_cfg(precision="fp32", image_min_size=64, image_max_size=96), SimpleTrainer.run_step, []
    cfg.INPUT.MASK_FORMAT = mask_format

    def short_of_memory(self):
        (batch,) = self.data_loader
        assert batch[0]["image"].shape == (3, 64, 96)
        assert type(batch[0]["instances"].gt_masks) is masks
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        run_step(self)

    monkeypatch.setattr(SimpleTrainer, "run_step", short_of_memory)
    assert largest_batch_that_fits(cfg, 16) == 3
    assert sizes == [1, 1, 2, 2, 4, 3, 3]


def test_what_a_gpu_without_room_for_one_image_says_is_raised(make_cfg, monkeypatch):
    def unable(self):
        raise RuntimeError("GET was unable to find an engine to execute this computation")

    monkeypatch.setattr(SimpleTrainer, "run_step", unable)
    with pytest.raises(RuntimeError, match="unable to find an engine"):
        largest_batch_that_fits(make_cfg(precision="fp32"), 16)
