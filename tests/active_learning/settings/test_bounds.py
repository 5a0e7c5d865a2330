"""Kind 8: every setting has an upper bound that a run survives, and a mistake names key, value and bound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from active_learning.errors import SettingsError
from active_learning.network.network_config import training_iterations
from active_learning.settings import Settings, load_settings
from active_learning.settings.keys import SettingsKeys, key_mistakes

WITHOUT_A_NUMBER = {  # texts, paths, choices and lists of names
    *("weightsroot", "resultsroot", "dataroot", "traindir", "valdir", "testdir", "initial_train_dir"),
    *("initial_train_file", "network_config", "pretrained_weights", "cuda_visible_devices", "precision", "classes"),
    *("unknown_labels", "learning_policy", "train_sampler", "minority_classes", "experiment_name", "strategy", "mode"),
    *("images_without_detections", "export_format", "supervisely_meta_json", "annotator", "label_check"),
    *("use_initial_train_dir", "duplicate_initial_model_and_data", "transfer_learning_on_previous_models"),
    *("equal_pool_size", "auto_annotate", "work_ahead", "budget", "initial_choice"),
}
NUMBERS = sorted(set(SettingsKeys.model_fields) - WITHOUT_A_NUMBER)
BOUNDED = r"must be (at most [\d.]+|below \d|a whole number from 0 to \d+)"


def mistakes(key: str, value: Any) -> list[str]:
    return [message for _, message in key_mistakes({"classes": ["a"], key: value})]


@pytest.mark.parametrize("key", NUMBERS)
def test_a_huge_number_is_refused_with_the_bound(key: str) -> None:
    listed = key == "step_ratios"
    for value in (10**30, 10**400, 1e300, float("inf"), float("nan"), True, False, "1", [[1]], {}):
        (message,) = mistakes(key, [value] if listed else value)
        assert message.startswith(key), (key, value)
        if value == 10**30:
            assert re.search(BOUNDED, message), message


def test_every_bound_is_taken_and_stands_in_the_documentation(project_root: Path) -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|", (project_root / "MISC_SETTINGS.md").read_text("utf-8"), re.M)
    )
    for key in NUMBERS:
        (message,) = mistakes(key, [10**30] if key == "step_ratios" else 10**30)
        bound = re.search(r"(\d+(?:\.\d+)?)(?:, or a list of such numbers)?$", message)
        assert bound, message
        assert bound[1] in rows[key].replace(" ", ""), f"{key}: {rows[key]!r} lacks the bound {bound[1]}"
        number = float(bound[1]) if "." in bound[1] else int(bound[1])
        if key != "step_ratios":
            assert not mistakes(key, number), key


LONG = "x" * 5000
TOO_LONG = [
    ("experiment_name", "x" * 300, "must have at most 120"),
    ("experiment_name", "ü" * 100, "has a name of 200 bytes"),
    ("experiment_name", "/".join(["run"] * 300), "must have at most 1000"),
    *(("experiment_name", name, "Windows takes for another name") for name in ("exp1.", "a /b", "CON", "x/nul.1")),
    ("traindir", LONG, "must have at most 1000"),
    ("traindir", "x" * 300, "more than 255 bytes"),
    ("traindir", "~no_such_user_of_this_machine/x", "a user whom this machine does not know"),
    ("network_config", "~no_such_user_of_this_machine/x.yaml", "a user whom this machine does not know"),
    ("valdir", "a\ud800", "half a character"),
    ("network_config", LONG, "must have at most 1000"),
    ("network_config", "a\x00b", "control character"),
    ("pretrained_weights", "a\x00.pth", "control character"),
    ("annotator", "labelme \x00", "control character"),
    ("annotator", LONG, "must have at most 1000"),
    ("experiment_name", "a\ud800", "half a character"),
    ("cuda_visible_devices", ",".join(map(str, range(1000))), "must have at most 1000"),
    ("classes", [f"c{number}" for number in range(3000)], "holds 3000 entries, must hold at most 2000"),
    ("classes", ["c" * 300], "has a name of 300 characters"),
    ("loops", [1] * 101, "holds 101 entries, must hold at most 100"),
    ("strategy", ["random"] * 10**5, "holds 100000 entries"),
    ("seed", list(range(200)), "holds 200 numbers, must hold at most 100"),
    ("step_ratios", [number / 1000 for number in range(1, 500)], "holds 499 entries"),
]


def test_what_is_too_long_is_refused() -> None:
    for key, value, words in TOO_LONG:
        (message,) = mistakes(key, value)
        assert message.startswith(key) and words in message, (key, message)
        assert len(message) < 300


TOGETHER = [
    (
        {"pool_size": list(range(1000, 1060)), "loops": [1] * 60, "equal_pool_size": False, "mode": ["mean", "min"]},
        "name",
    ),
    ({"pool_size": [1] * 100, "loops": [5000] * 100, "equal_pool_size": False}, "the schedule has 500000 loops"),
    (
        {"seed": list(range(100)), "mcd_iterations": list(range(1, 51))},
        "5000 experiments, one run can have at most 1000",
    ),
]


def test_lists_that_ask_for_too_much_together(tmp_path: Path) -> None:
    for values, words in TOGETHER:
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"classes": ["a"], **values}), encoding="utf-8")
        with pytest.raises(SettingsError, match=words):
            load_settings(tmp_path / "settings.yaml")


TEXTS = [
    ("initial_datasize: 010", "initial_datasize: '010' must be a whole number, without leading zeros"),
    ("initial_datasize: 1:30", "initial_datasize: '1:30' must be a whole number"),
    ("loops: 0x10", "loops: '0x10' must be a whole number"),
    ("loops: 0b11", "loops: '0b11' must be a whole number"),
    ("loops: " + "9" * 5000, "must be a whole number, without leading zeros and of few digits"),
    ("loops: 0x" + "f" * 5000, "must be a whole number"),
    ("learning_rate: 1e400", "learning_rate: inf must be a finite number"),
    ("learning_rate: 1:30.5", "learning_rate: '1:30.5' must be a number"),
    ("seed: 007", "seed: '007' must be a whole number"),
    ("classes: &a [*a]", "recursive"),
    ("loops: *nothing", "not a YAML file"),
    (
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)) + "loops: *a39",
        "loops[0]: [[[[[",
    ),
]


@pytest.mark.timeout(20)
def test_what_yaml_makes_of_numbers(tmp_path: Path) -> None:
    for text, words in TEXTS:
        heading = "" if text.startswith("classes") else "classes: [a]\n"
        (tmp_path / "settings.yaml").write_text(heading + text + "\n", encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            load_settings(tmp_path / "settings.yaml")
        assert words in str(caught.value), (text[:40], str(caught.value)[:500])


def test_a_file_that_is_no_settings_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(SettingsError, match="has more than 1000000 bytes"):
        load_settings(tmp_path / "settings.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "keys", [{"train_epochs": 100_000.0}, {"train_iterations_step_size": 10_000_000, "step_image_number": 1}], ids=str
)
def test_a_training_that_would_never_end_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(
        SettingsError, match=r"(train_epochs|step_size) .* would have \d+ iterations, it can have at most"
    ):
        training_iterations(5000, Settings(classes=["a"], **keys))
