from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from active_learning.errors import MaskALError
from active_learning.network import network_file as module
from active_learning.network.network_file import (
    network_values,
    published_classes,
    read_network_file,
    reload_network_file,
    values_of_testing,
    with_dropout_heads,
)
from active_learning.system.log import logger
from detectron2.model_zoo import get_config_file

ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
WHOLE = (
    f"_BASE_: {Path(get_config_file(ZOO)).as_posix()}\nMODEL: {{RPN: {{NMS_THRESH: 0.5}}}}\nSOLVER: {{MOMENTUM: 0.5}}\n"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INPUT: {FORMAT: XYZ}", "INPUT.FORMAT 'XYZ' is not known here; it can be BGR or RGB"),
        ("INPUT: {MASK_FORMAT: rle}", "INPUT.MASK_FORMAT 'rle' is not known here"),
        ("INPUT: {MIN_SIZE_TRAIN_SAMPLING: any}", "INPUT.MIN_SIZE_TRAIN_SAMPLING 'any' is not known here"),
        ("INPUT: {RANDOM_FLIP: diagonal}", "INPUT.RANDOM_FLIP 'diagonal' is not known here"),
        ("INPUT: {CROP: {TYPE: round}}", "INPUT.CROP.TYPE 'round' is not known here"),
        ("SOLVER: {CLIP_GRADIENTS: {CLIP_TYPE: most}}", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'most' is not known here"),
        ("MODEL: {ROI_BOX_HEAD: {BBOX_REG_LOSS_TYPE: l7}}", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE 'l7' is not known"),
        ("MODEL: {RPN: {BBOX_REG_LOSS_TYPE: l7}}", "MODEL.RPN.BBOX_REG_LOSS_TYPE 'l7' is not known here"),
        ("MODEL: {RPN: {BATCH_SIZE_PER_IMAGE: 0}}", "MODEL.RPN.BATCH_SIZE_PER_IMAGE 0 must be at least 1"),
        ("MODEL: {ROI_HEADS: {BATCH_SIZE_PER_IMAGE: -5}}", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE -5 must be at least"),
        ("MODEL: {ROI_MASK_HEAD: {POOLER_RESOLUTION: 0}}", "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION 0 must be at least"),
        ("MODEL: {PIXEL_MEAN: [.nan, 1, 1]}", r"MODEL.PIXEL_MEAN \[nan, 1, 1\] must be of finite numbers"),
        ("MODEL: {RPN: {NMS_THRESH: }}", "MODEL.RPN.NMS_THRESH has no value; give it one, or remove its line"),
        ("MODEL: {ROI_MASK_HEAD: {POOLER_RESOLUTION: }}", "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION has no value"),
        ("MODEL: {PIXEL_MEAN: [null, 1, 1]}", "MODEL.PIXEL_MEAN has no value"),
        ("SOLVER: {BIAS_LR_FACTOR: .inf}", "SOLVER.BIAS_LR_FACTOR inf must be of finite numbers"),
    ],
)
def test_values_of_a_network_file_that_would_end_a_training(tmp_path, text, message):
    """Found without PyTorch."""
    file = tmp_path / "own.yaml"
    base = get_config_file(ZOO)
    file.write_text(f"_BASE_: {Path(base).as_posix()}\n{text}\n", encoding="utf-8")
    with pytest.raises(MaskALError, match=rf"network_config: .*own\.yaml: {message}"):
        with_dropout_heads(read_network_file(str(file)), str(file))


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        (ZOO, 80, ["person"]),
        ("Cityscapes/mask_rcnn_R_50_FPN.yaml", 0, []),
    ],
)
def test_classes_of_published_weights(name, count, first):
    names = published_classes(name)
    assert len(names) == count
    assert names[:1] == first


@pytest.mark.parametrize(
    ("readings", "held"),
    [
        ([WHOLE], 0.5),
        ([WHOLE.replace("0.5", "0.6")], 0.6),
        ([WHOLE.replace("SOLVER", "MODEL: {"), WHOLE], 0.5),
        ([WHOLE.partition("SOLVER")[0].replace("0.5", "0.7"), WHOLE.replace("0.5", "0.6")], 0.6),
        ([WHOLE.replace("MOMENTUM: 0.5", "MOMENTUM: "), WHOLE], 0.5),
        (["", WHOLE.replace("0.5", "0.6")], 0.6),
        ([None, WHOLE.replace("0.5", "0.6")], 0.6),
    ],
    ids=[
        "as it was",
        "edited",
        "torn, then as it was",
        "without its end, then whole",
        "without a value",
        "empty, then whole",
        "replaced",
    ],
)
def test_a_file_that_is_being_saved_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings, held):
    file = tmp_path / "own.yaml"
    file.write_text(WHOLE, encoding="utf-8")
    in_use, read = read_network_file(str(file)), read_network_file

    def read_next(name: str):
        if (text := readings[0]) is None:
            file.unlink()
        else:
            file.write_text(text, encoding="utf-8")
        if len(readings) > 1:
            readings.pop(0)
        return read(name)

    monkeypatch.setattr(module, "read_network_file", read_next)
    now = reload_network_file(str(file), in_use)
    assert (held, held) == (now.MODEL.RPN.NMS_THRESH, now.SOLVER.MOMENTUM)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_text("MODEL: {", encoding="utf-8"), "own.yaml cannot be read"),
        (lambda file: file.write_text(f"{WHOLE}INPUT: {{FORMAT: XYZ}}", encoding="utf-8"), "'XYZ' is not known here"),
        (lambda file: file.write_text("MODEL: {MASK_ON: False}", encoding="utf-8"), "predicts no masks"),
        (Path.unlink, "own.yaml is neither a file nor"),
    ],
    ids=["torn", "a part that is not known", "no masks", "gone"],
)
def test_one_that_stays_wrong_is_not_needed_in_a_run(
    tmp_path: Path, caplog, monkeypatch, spoil: Callable[[Path], object], message
):
    file = tmp_path / "own.yaml"
    file.write_text(WHOLE, encoding="utf-8")
    in_use = read_network_file(str(file))
    spoil(file)
    monkeypatch.setattr(logger, "propagate", True)
    assert reload_network_file(str(file), in_use) == in_use
    assert message in caplog.text and "The run goes on with what this file held before" in caplog.text


def test_what_counts_in_testing(tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "MODEL: {RPN: {NMS_THRESH: 0.5, LOSS_WEIGHT: 2.0}}\nTEST: {DETECTIONS_PER_IMAGE: 7}\n", encoding="utf-8"
    )
    values = network_values(read_network_file(str(file)))
    assert values == {"MODEL.RPN.NMS_THRESH": 0.5, "MODEL.RPN.LOSS_WEIGHT": 2.0, "TEST.DETECTIONS_PER_IMAGE": 7}
    assert values_of_testing(values) == {"MODEL.RPN.NMS_THRESH": 0.5, "TEST.DETECTIONS_PER_IMAGE": 7}
