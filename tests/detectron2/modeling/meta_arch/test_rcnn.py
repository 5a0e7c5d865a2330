from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from detectron2.modeling import GeneralizedRCNN, ProposalNetwork, build_model
from detectron2.structures import Boxes, Instances

OBJECTS = [[10.0, 12, 50, 60], [70.0, 20, 110, 80]]


@pytest.fixture
def model(small_cfg) -> GeneralizedRCNN:
    return build_model(small_cfg)


def test_images_are_normalised_and_padded(small_cfg) -> None:
    small_cfg.MODEL.PIXEL_MEAN = [1.0, 2.0, 3.0]
    small_cfg.MODEL.PIXEL_STD = [1.0, 2.0, 4.0]
    model = build_model(small_cfg)
    images = model.preprocess_image(
        [{"image": torch.full((3, 40, 50), 9, dtype=torch.uint8)}, {"image": torch.full((3, 20, 70), 9.0)}]
    )
    assert images.tensor.shape == (2, 3, 64, 96)
    assert images.image_sizes == [(40, 50), (20, 70)]
    assert images.tensor[0, :, 39, 49].tolist() == [8.0, 3.5, 1.5]
    assert images.tensor[0, :, 40:].abs().sum() == images.tensor[1, :, :, 70:].abs().sum() == 0


def test_training_steps_lower_the_loss(model, make_input, storage) -> None:
    batch = [make_input(OBJECTS)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for _ in range(15):
        losses = model(batch)
        assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-3:]) / 3 < 0.75 * totals[0]


def test_images_without_objects_train(model, make_input, storage) -> None:
    losses = model([make_input([]), make_input(OBJECTS)])
    alone = model([make_input([])])
    sum(alone.values()).backward()
    assert all(torch.isfinite(loss) for loss in [*losses.values(), *alone.values()])
    assert alone["loss_mask"] == alone["loss_box_reg"] == alone["loss_rpn_loc"] == 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("box", [[20.0, 20.0, 20.0, 40.0], [20.0, 20.0, 18.0, 40.0]], ids=["thin", "reversed"])
def test_a_box_of_no_area_is_left_out_and_named(model, make_input, storage, caplog, box) -> None:
    given = make_input([box, OBJECTS[0], box])
    losses = model([{**given, "file_name": "a.jpg"}])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert storage.latest()["rpn/num_pos_anchors"][0] < 20
    assert f"a.jpg: gt_boxes[0] is {box}, which has no area" in caplog.text
    assert len(given["instances"]) == 3


def test_detections_have_the_size_asked_for(small_cfg, make_input) -> None:
    small_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    small_cfg.TEST.DETECTIONS_PER_IMAGE = 5
    model = build_model(small_cfg).eval()
    given = [{**make_input(OBJECTS), "height": 192, "width": 200}, {"image": make_input([])["image"]}]
    with torch.no_grad():
        first, second = (output["instances"] for output in model(given))
    assert (first.image_size, second.image_size) == ((192, 200), (96, 128))
    assert 0 < len(first) <= 5
    assert first.pred_masks.shape == (len(first), 192, 200)
    assert first.pred_masks.dtype == torch.bool


def test_a_threshold_nothing_reaches(small_cfg, make_input) -> None:
    small_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    with torch.no_grad():
        (output,) = build_model(small_cfg).eval()([make_input(OBJECTS)])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_masks.shape == (0, 96, 128)


def test_an_image_is_detected_alike_alone_and_in_a_batch(small_cfg, make_input) -> None:
    small_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(small_cfg).eval()
    with torch.no_grad():
        alone = model([make_input(OBJECTS)])[0]["instances"]
        together = model([make_input(OBJECTS), make_input([])])[0]["instances"]
    assert torch.allclose(alone.scores, together.scores, atol=1e-5)
    assert torch.allclose(alone.pred_boxes.tensor, together.pred_boxes.tensor, atol=1e-3)


def test_inference_with_given_boxes(model, make_input) -> None:
    given = Instances((96, 128), pred_boxes=Boxes(OBJECTS), pred_classes=torch.tensor([0, 1]))
    model.eval()
    with torch.no_grad():
        (raw,) = model.inference([make_input([])], [given], do_postprocess=False)
        (output,) = model.inference([make_input([])], [given])
    assert raw.pred_masks.shape == (2, 1, 28, 28)
    assert output["instances"].pred_masks.shape == (2, 96, 128)
    assert output["instances"].pred_boxes.tensor.tolist() == OBJECTS


def test_derived_architectures_find_the_postprocessing(model, make_input) -> None:
    found = Instances((96, 128), pred_boxes=Boxes(OBJECTS), scores=torch.ones(2))
    given = [{**make_input([]), "height": 192, "width": 256}, make_input([])]
    larger, same = GeneralizedRCNN._postprocess([found, found[:1]], given, [(96, 128), (96, 128)])
    assert larger["instances"].pred_boxes.tensor.tolist() == [[2 * value for value in box] for box in OBJECTS]
    assert same["instances"].image_size == (96, 128)


def test_inference_is_not_for_training_mode(model, make_input) -> None:
    with pytest.raises(RuntimeError, match="eval"):
        model.inference([make_input(OBJECTS)])


def test_proposals_can_come_with_the_input(small_cfg, make_input) -> None:
    small_cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    model = build_model(small_cfg).eval()
    given = Instances((96, 128), proposal_boxes=Boxes(OBJECTS), objectness_logits=torch.zeros(2))
    with torch.no_grad():
        (output,) = model([{**make_input([]), "proposals": given}])
    assert output["instances"].has("pred_masks")
    with pytest.raises(KeyError, match="proposals"):
        model([make_input([])])


def test_training_can_be_watched(small_cfg, make_input, storage) -> None:
    small_cfg.VIS_PERIOD = 1
    build_model(small_cfg)([make_input(OBJECTS)])
    name, picture, _ = storage.images[-1]
    assert "GT" in name
    assert picture.shape == (3, 96, 256)


def test_watching_needs_the_image_format(small_cfg) -> None:
    with pytest.raises(ValueError, match="input_format"):
        GeneralizedRCNN(small_cfg, vis_period=1, input_format=None)


def test_proposal_network(small_cfg, make_input, storage) -> None:
    small_cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    model = build_model(small_cfg)
    assert isinstance(model, ProposalNetwork)
    assert set(model([make_input(OBJECTS)])) == {"loss_rpn_cls", "loss_rpn_loc"}
    with torch.no_grad():
        (output,) = model.eval()([{**make_input(OBJECTS), "height": 48, "width": 64}])
    assert output["proposals"].image_size == (48, 64)
    assert (output["proposals"].proposal_boxes.tensor[:, 2] <= 64).all()


def test_mean_and_deviation_stay_out_of_the_state_dict(model) -> None:
    assert not any("pixel" in name for name in model.state_dict())
    assert model.device == torch.device("cpu")


def load_golden(shared_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", shared_dir / "golden" / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["mask_R_18_FPN_BN"])
def test_golden_figures(shared_dir: Path, name: str) -> None:
    golden = load_golden(shared_dir)
    reference = json.loads((shared_dir / "golden" / "models.json").read_text(encoding="utf-8"))[name]
    differences: list[str] = []
    golden.close(reference, golden.figures(*golden.CASES[name]), name, differences)
    assert differences == []
