"""Configs and weights: those of MaskAL and of the model zoo, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from demo.prediction_files import UsageError
from demo.trained_network import TrainedNetwork, class_names, read_config
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def config(small_network, *opts: str, **arguments):
    options = ["MODEL.WEIGHTS", str(small_network.weights), *opts]
    return read_config(str(small_network.config), opts=options, **{"threshold": 0.0, **arguments})


def test_weights_are_those_of_the_file_and_the_threshold_holds(small_network) -> None:
    network = TrainedNetwork(config(small_network), ["healthy", "damaged"])
    scores = network(IMAGE).scores
    threshold = float(scores.median())
    fewer = TrainedNetwork(config(small_network, threshold=threshold))(IMAGE).scores
    assert torch.equal(fewer, scores[scores > threshold])
    assert 0 < len(fewer) < len(scores)


def test_networks_with_maskals_dropout_heads_load_the_same_weights(small_network) -> None:
    heads = {"ROI_HEADS": "DropoutROIHeads", "ROI_BOX_HEAD": "DropoutBoxHead", "ROI_MASK_HEAD": "DropoutMaskHead"}
    opts = [text for key, name in heads.items() for text in (f"MODEL.{key}.NAME", name)]
    network = TrainedNetwork(config(small_network, *opts, "MODEL.ROI_HEADS.DROPOUT_PROBABILITY", "0.25"))
    first, again, plain = network(IMAGE), network(IMAGE), TrainedNetwork(config(small_network))(IMAGE)
    assert torch.equal(first.scores, again.scores)
    assert torch.isclose(first.scores.max(), plain.scores.max())


def test_the_zoo_gives_the_published_weights_unless_others_are_given() -> None:
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    published = read_config(name, threshold=0.5)
    assert published.MODEL.WEIGHTS.endswith("137849600/model_final_f10217.pkl")
    assert class_names(published)[:2] == ["person", "bicycle"]
    own = read_config(name, threshold=0.5, classes=["a", "b"], opts=["MODEL.WEIGHTS", "own.pth"])
    assert (own.MODEL.WEIGHTS, own.MODEL.ROI_HEADS.NUM_CLASSES) == ("own.pth", 2)


def test_names_of_another_number_of_classes_are_not_used(capsys) -> None:
    cfg = get_cfg()
    cfg.DATASETS.TEST, cfg.DATASETS.TRAIN = ("coco_2017_val",), ("test_demo_three",)
    MetadataCatalog.get("test_demo_three").set(thing_classes=["date", "fig", "hazelnut"])
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    assert class_names(cfg) == ["date", "fig", "hazelnut"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    assert class_names(cfg) == ["class 0", "class 1"]
    assert "--classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "opts", "message"),
    [
        pytest.param("nothing.yaml", [], "there is no such file", id="no config"),
        pytest.param("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_2x.yaml", [], "nearest names", id="not in the zoo"),
        pytest.param(None, ["MODEL.MASKON", "True"], "did you mean MODEL.MASK_ON", id="unknown key"),
        pytest.param(None, ["MODEL.MASK_ON"], "has no value", id="key without value"),
        pytest.param(None, ["MODEL.MASK_ON", "3.5"], "MODEL.MASK_ON", id="wrong type"),
        pytest.param(None, ["MODEL.MASK_ON", "True", "--output", "x"], "put --output before it", id="a flag after it"),
        pytest.param(None, ["MODEL.ROI_HEADS.NUM_CLASSES", "5"], "2 names for the 5 classes", id="number of names"),
        pytest.param(None, ["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "predicts no objects", id="proposals only"),
    ],
)
def test_a_wrong_config_is_reported(name, opts, message, small_network) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(name or str(small_network.config), threshold=0.5, classes=["a", "b"], opts=opts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("MODEL: [", "not a YAML file", id="no yaml"),
        pytest.param("MODEL: {COLOUR: red}", "COLOUR", id="unknown key"),
        pytest.param("_BASE_: gone.yaml", "gone.yaml", id="base is not there"),
    ],
)
def test_a_broken_config_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        read_config(str(path), threshold=0.5)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        pytest.param(["MODEL.WEIGHTS", ""], "names no weights", id="none"),
        pytest.param(["MODEL.WEIGHTS", "gone.pth"], "gone.pth", id="not there"),
        pytest.param(["MODEL.ROI_HEADS.NUM_CLASSES", "3"], "does not fit the network: 6 weights", id="other classes"),
        pytest.param(["MODEL.RESNETS.DEPTH", "34"], "does not fit the network", id="deeper network"),
        pytest.param(["MODEL.BACKBONE.NAME", "build_nothing"], "cannot be built: .*build_nothing", id="no backbone"),
    ],
)
def test_what_cannot_be_loaded_is_reported(opts, message, small_network) -> None:
    with pytest.raises(UsageError, match=message):
        TrainedNetwork(config(small_network, *opts))


def test_weights_of_other_classes_are_reported(small_network, tmp_path) -> None:
    path = tmp_path / "w.pth"
    weights = torch.load(small_network.weights, weights_only=True)
    torch.save({**weights, "classes": ["healthy", "damaged"]}, path)
    given = config(small_network, "MODEL.WEIGHTS", str(path))
    TrainedNetwork(given, ["healthy", "damaged"])
    with pytest.raises(
        UsageError, match=r"^MODEL.WEIGHTS .*w\.pth: was trained on .*; give --classes healthy damaged, or"
    ):
        TrainedNetwork(given, ["damaged", "healthy"])


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_a_file_that_holds_no_weights_is_reported(suffix: str, small_network, tmp_path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"no weights")
    with pytest.raises(UsageError, match=f"weights{suffix}"):
        TrainedNetwork(config(small_network, "MODEL.WEIGHTS", str(path)))


def test_a_checkpoint_with_more_than_the_network_needs_is_fine(small_network, tmp_path) -> None:
    network = TrainedNetwork(config(small_network))
    model = network._predictor.model
    model.register_buffer("extra", torch.zeros(3))
    DetectionCheckpointer(model, str(tmp_path)).save("more", iteration=7)
    again = TrainedNetwork(config(small_network, "MODEL.WEIGHTS", str(tmp_path / "more.pth")))
    assert torch.equal(again(IMAGE).scores, network(IMAGE).scores)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        pytest.param([], "0 objects", id="none"),
        pytest.param([1], "1 object (damaged 1)", id="one"),
        pytest.param([1, 0, 1], "3 objects (2 damaged, 1 healthy)", id="several"),
    ],
)
def test_objects_are_counted_by_class(classes, words, small_network) -> None:
    network = TrainedNetwork(config(small_network), ["healthy", "damaged"])
    assert network.count(found(classes)) == words.replace("damaged 1", "1 damaged")


def found(classes: list[int], height: int = 60, width: int = 80) -> Instances:
    """Objects without masks, as Faster R-CNN finds them."""
    instances = Instances((height, width))
    instances.pred_boxes = Boxes(torch.tensor([[10.0, 10.0, 40.0, 50.0]]).repeat(len(classes), 1))
    instances.scores = torch.full((len(classes),), 0.75)
    instances.pred_classes = torch.tensor(classes, dtype=torch.long)
    return instances


def test_boxes_alone_are_drawn_too(small_network) -> None:
    network = TrainedNetwork(config(small_network), ["healthy", "damaged"])
    frame = network.draw_frame(IMAGE, found([1]))
    assert frame.shape == IMAGE.shape
    assert (frame != IMAGE).any()
    assert (network.draw_frame(IMAGE, found([])) == IMAGE).all()


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(60, 80, 4), (240, 320, 2), (399, 900, 2), (400, 500, 1)], ids=str
)
def test_small_images_become_larger_pictures(height: int, width: int, scale: int, small_network) -> None:
    network = TrainedNetwork(config(small_network), ["healthy", "damaged"])
    picture = network.draw(np.zeros((height, width, 3), np.uint8), found([0], height, width)).get_image()
    assert picture.shape == (height * scale, width * scale, 3)
