"""Settings that have no use as another one stands are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from active_learning.settings import Settings
from active_learning.settings.unused import unused_settings

REPEATS = {"train_sampler": "RepeatFactorTrainingSampler", "minority_classes": ["a"]}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"initial_train_file": "a.txt"}, ["initial_train_file .* without duplicate_initial_model_and_data: True"]),
        ({"initial_train_file": "a.txt", "duplicate_initial_model_and_data": True}, []),
        ({"tile_overlap": 0.3}, ["tile_overlap .* without tile_size"]),
        ({"tile_overlap": 0.3, "tile_size": 512}, []),
        ({"minority_classes": ["a"]}, ["minority_classes .* without train_sampler: RepeatFactorTrainingSampler"]),
        ({"repeat_factor_smallest_class": 2}, ["repeat_factor_smallest_class .* without train_sampler: Repeat"]),
        ({**REPEATS, "repeat_factor_smallest_class": 2}, []),
        ({"initial_train_dir": Path("elsewhere")}, []),
        ({"supervisely_meta_json": "m.json"}, ["supervisely_meta_json .* without export_format: supervisely"]),
        ({"supervisely_meta_json": "m.json", "export_format": "supervisely"}, []),
    ],
)
def test_what_is_given_in_vain_is_named(changes: dict[str, Any], lines: list[str]) -> None:
    found = unused_settings(Settings(classes=["a"], **changes))
    assert len(found) == len(lines)
    for text, pattern in zip(found, lines, strict=True):
        assert re.match(pattern, text)
