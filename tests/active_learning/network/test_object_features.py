"""Features of objects are those from which the network decides on their class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from active_learning.network.object_features import object_features
from active_learning.network.prediction import read_input
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances


@pytest.mark.parametrize("size", [48, 96], ids=["smaller than the file", "larger"])
def test_the_predictor_decides_from_them(make_cfg, image_folder, size):
    cfg = make_cfg(image_min_size=size, image_max_size=4 * size)
    model = build_model(cfg).eval()
    given = read_input(sorted(image_folder.rglob("*.png"))[0], cfg)
    in_file = torch.tensor([[4.0, 6.0, 40.0, 30.0], [10.0, 10.0, 30.0, 50.0]])
    features = object_features(model, given, in_file)
    with torch.no_grad():
        images = model.preprocess_image([given])
        maps = model.backbone(images.tensor)
        height, width = images.image_sizes[0]
        boxes = Boxes(in_file * torch.tensor([width / given["width"], height / given["height"]] * 2))
        proposals = Instances((height, width), proposal_boxes=boxes)
        heads = model.roi_heads
        _, expected = heads.classify(maps, heads.box_features(maps, boxes), proposals)
        found = heads.box_predictor(features)[0].softmax(dim=1)
    assert np.allclose(found.numpy(), expected.numpy(), atol=1e-6)
    assert len(features) == 2 and not torch.equal(features[0], features[1])
