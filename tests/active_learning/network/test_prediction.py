from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from active_learning.errors import MaskALError, SettingsError
from active_learning.network.prediction import detect, load_network, picture_of, read_input
from active_learning.network.weights_files import save_weights
from detectron2.data import detection_utils
from detectron2.modeling import build_model


def test_weights_make_a_round_trip(make_cfg, tmp_path):
    cfg = make_cfg()
    model = build_model(cfg)
    (tmp_path / "deep").mkdir()
    save_weights(model, tmp_path / "deep" / "w.pth")
    loaded = load_network(cfg, tmp_path / "deep" / "w.pth")
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such weights file"), (b"junk", "cannot be read as weights")]
)
def test_weights_that_cannot_be_loaded(make_cfg, tmp_path, content, message):
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MaskALError, match=rf"w\.pth: .*{message}"):
        load_network(make_cfg(), path)


@pytest.mark.parametrize("changes", [{"classes": ["a", "b"]}, {"classes": ["a", "b", "c", "d"]}], ids=["fewer", "more"])
def test_weights_of_another_network_are_refused(make_cfg, tmp_path, changes):
    save_weights(build_model(make_cfg()), tmp_path / "w.pth")
    with pytest.raises(MaskALError, match=r"w\.pth: does not fit the network: \d+ weights"):
        load_network(make_cfg(**changes), tmp_path / "w.pth")


def test_weights_of_other_classes_are_refused_where_they_are_given(make_cfg, tmp_path):
    cfg, path = make_cfg(), tmp_path / "w.pth"
    save_weights(build_model(cfg), path, ["square", "disc", "never"])
    load_network(cfg, path)
    load_network(cfg, path, ["square", "disc", "never"])
    with pytest.raises(SettingsError, match=r"w\.pth: was trained on the classes square, .* give --classes square"):
        load_network(cfg, path, ["disc", "square", "never"])
    with pytest.raises(SettingsError, match=r"not on square, disc; give --classes square disc never"):
        load_network(make_cfg(classes=["square", "disc"]), path, ["square", "disc"])


def test_predictions_are_at_full_resolution(make_cfg, tmp_path):
    path = tmp_path / "wide.png"
    cv2.imwrite(str(path), np.zeros((90, 150, 3), dtype=np.uint8))
    found = detect(build_model(make_cfg()), read_input(path, make_cfg()))
    assert found.image_size == (90, 150)
    assert len(found)
    assert found.pred_masks.shape == (len(found), 90, 150)
    assert found.softmaxes.shape == (len(found), 3)
    assert (found.scores[:-1] >= found.scores[1:]).all()


def test_input_is_resized_and_keeps_the_size_of_the_file(make_cfg, tmp_path):
    path = tmp_path / "colour.png"
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    cv2.imwrite(str(path), pixels)
    model_input = read_input(path, make_cfg(image_min_size=64))
    assert (model_input["height"], model_input["width"]) == (32, 48)
    assert model_input["image"].shape == (3, 64, 96)
    assert model_input["image"][:, 0, 0].tolist() == [200, 0, 0]
    assert picture_of(model_input, make_cfg())[0, 0].tolist() == [0, 0, 200]  # OpenCV wrote it as blue


@pytest.mark.parametrize("content", [None, b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_images_that_cannot_be_read(make_cfg, tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        MaskALError, match=r"a\.png: (cannot be read as an|is no) image.*; (replace or remove it|put it back)"
    ):
        read_input(path, make_cfg())


@pytest.mark.parametrize("fault", [EOFError("cut"), SyntaxError("broken PNG file"), ValueError("no rows")], ids=repr)
def test_each_error_of_a_decoder_names_the_image(make_cfg, tmp_path, monkeypatch, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(detection_utils, "read_image", fail)
    with pytest.raises(MaskALError, match=rf"a\.png: cannot be read as an image: {fault}; replace or remove it"):
        read_input(tmp_path / "a.png", make_cfg())


def test_a_fault_of_the_program_is_no_damaged_image(make_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(detection_utils, "read_image", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_input(tmp_path / "a.png", make_cfg())
