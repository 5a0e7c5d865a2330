from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from active_learning.errors import MaskALError
from active_learning.network import image_batches
from active_learning.network.image_batches import (
    WAITING_BATCHES,
    ImageInput,
    UnreadableImage,
    read_images,
    same_shape_batches,
)
from active_learning.network.prediction import read_input


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_in_order_and_faults_beside_them(make_cfg, tmp_path, workers):
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.full((30 + number, 40, 3), 9 * number, np.uint8))
    (tmp_path / "2.png").write_bytes(b"broken")
    cfg = make_cfg(num_workers=workers)
    found = list(read_images(tmp_path, names, cfg))
    assert [one.name for one in found] == names
    assert isinstance(found[2], UnreadableImage)
    assert "2.png: is no image or is damaged" in found[2].fault
    for one in (found[0], found[4]):
        expected = read_input(tmp_path / one.name, cfg)
        assert torch.equal(one.content["image"], expected["image"])
        assert one.content["height"] == expected["height"]


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), RuntimeError("worker (pid 7) was killed")])
def test_processes_that_cannot_be_started_are_named(make_cfg, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(image_batches.DataLoader, "__iter__", fail)
    with pytest.raises(MaskALError, match=rf"{tmp_path}: images could not be loaded .*; lower num_workers \(1\)"):
        list(read_images(tmp_path, ["a.png"], make_cfg(num_workers=2)))


def test_no_image_needs_no_process(make_cfg, tmp_path):
    assert list(read_images(tmp_path, [], make_cfg(num_workers=2))) == []


@given(st.lists(st.integers(1, 4), max_size=60), st.integers(1, 5))
def test_batches_have_one_shape_and_hold_each_image_once(heights, size):
    inputs = [ImageInput(str(number), {"image": torch.zeros(3, h, 2)}) for number, h in enumerate(heights)]
    taken = []

    def counted():
        for one in inputs:
            taken.append(one)
            yield one

    given_out = []
    for batch in same_shape_batches(counted(), size):
        assert 1 <= len(batch) <= size
        assert len({one.content["image"].shape for one in batch}) == 1
        given_out += batch
        assert len(taken) - len(given_out) < WAITING_BATCHES * size
    assert sorted(one.name for one in given_out) == sorted(one.name for one in inputs)
