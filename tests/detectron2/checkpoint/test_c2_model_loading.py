"""Matching names by their endings."""

from __future__ import annotations

import pytest
import torch

from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_torchvision_names,
    is_torchvision_resnet,
)


def tensors(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((1,), float(i)) for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("network", "file", "expected"),
    [
        pytest.param(["a.w"], ["a.w"], {"a.w": "a.w"}, id="equal"),
        pytest.param(["backbone.stem.w"], ["stem.w"], {"stem.w": "backbone.stem.w"}, id="suffix"),
        pytest.param(
            ["body.res2.conv1.w", "body.conv1.w"],
            ["conv1.w", "res2.conv1.w"],
            {"conv1.w": "body.conv1.w", "res2.conv1.w": "body.res2.conv1.w"},
            id="longest",
        ),
        pytest.param(["body.myconv.w"], ["conv.w"], {"conv.w": "conv.w"}, id="only-after-a-dot"),
        pytest.param(["a.w"], ["head.fc.w"], {"head.fc.w": "head.fc.w"}, id="unmatched"),
    ],
)
def test_longest_suffix(network: list[str], file: list[str], expected: dict[str, str]) -> None:
    loaded = tensors(*file)
    aligned = align_and_update_state_dicts(tensors(*network), loaded, c2_conversion=False)
    assert aligned == {new: loaded[old] for old, new in expected.items()}


def test_one_weight_for_two_places() -> None:
    with pytest.raises(ValueError, match="'w' fit both 'a.w' and 'b.w'"):
        align_and_update_state_dicts(tensors("a.w", "b.w"), tensors("w"), c2_conversion=False)


@pytest.mark.parametrize("order", [["a.w", "b.w", "c.w"], ["c.w", "b.w", "a.w"]], ids=["before", "after"])
def test_places_of_another_shape_do_not_compete(order: list[str]) -> None:
    shapes = {"a.w": (3,), "b.w": (1,), "c.w": (2, 1)}
    network = {name: torch.zeros(shapes[name]) for name in order}
    aligned = align_and_update_state_dicts(network, tensors("w"), c2_conversion=False)
    assert list(aligned) == ["b.w"]
    del network["b.w"]
    # None has its shape: it goes to one of them, so that loading tells the difference in shape.
    assert list(align_and_update_state_dicts(network, tensors("w"), c2_conversion=False)) == [next(iter(network))]


def test_names_of_a_data_parallel_network() -> None:
    loaded = tensors("module.stem.w", "module.fc.w")
    aligned = align_and_update_state_dicts(tensors("backbone.stem.w"), loaded, c2_conversion=False)
    assert aligned == {"backbone.stem.w": loaded["module.stem.w"], "fc.w": loaded["module.fc.w"]}


def test_a_name_that_fits_twice_is_reported_as_the_file_has_it() -> None:
    with pytest.raises(ValueError, match="'res2_0_branch2a_w' fit both 'a.res2.0.conv1.weight' and 'b.res2"):
        align_and_update_state_dicts(
            tensors("a.res2.0.conv1.weight", "b.res2.0.conv1.weight"), tensors("res2_0_branch2a_w")
        )


def test_the_shorter_of_two_names_for_one_weight_stays_unused() -> None:
    loaded = tensors("conv1.w", "stem.conv1.w")
    aligned = align_and_update_state_dicts(tensors("backbone.stem.conv1.w"), loaded, c2_conversion=False)
    assert aligned == {"conv1.w": loaded["conv1.w"], "backbone.stem.conv1.w": loaded["stem.conv1.w"]}


@pytest.mark.parametrize(
    ("torchvision", "ours"),
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_mean", "stem.conv1.norm.running_mean"),
        ("layer1.0.conv1.weight", "res2.0.conv1.weight"),
        ("layer1.0.bn2.bias", "res2.0.conv2.norm.bias"),
        ("layer4.0.downsample.0.weight", "res5.0.shortcut.weight"),
        ("layer4.0.downsample.1.running_var", "res5.0.shortcut.norm.running_var"),
        ("layer3.22.conv3.weight", "res4.22.conv3.weight"),
        ("fc.weight", "fc.weight"),
    ],
)
def test_torchvision_names(torchvision: str, ours: str) -> None:
    assert list(convert_torchvision_names(tensors(torchvision))) == [ours]


def test_torchvision_files_are_recognised() -> None:
    from torchvision.models import resnet18

    with torch.device("meta"):
        assert is_torchvision_resnet(resnet18().state_dict())
    assert not is_torchvision_resnet(["stem.conv1.weight", "res2.0.conv1.weight"])
