from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from active_learning.errors import SettingsError
from active_learning.settings import Settings, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes_of(folder: Path, text: str, *overrides: str, check_paths: bool = False) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(folder, text), overrides, check_paths=check_paths)
    return caught.value.mistakes


def test_shipped_file_lists_every_key_with_its_default(project_root: Path) -> None:
    shipped = yaml.safe_load((project_root / "maskAL.yaml").read_text(encoding="utf-8"))
    assert set(shipped) == set(Settings.model_fields)
    assert load_settings(project_root / "maskAL.yaml") == Settings(classes=shipped["classes"])


def test_every_key_is_explained(project_root: Path) -> None:
    explained = re.findall(r"^\| `(\w+)` \|", (project_root / "MISC_SETTINGS.md").read_text(encoding="utf-8"), re.M)
    assert set(Settings.model_fields) <= set(explained)


def test_three_lines_suffice(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "classes: [a, b]\ntraindir: ./images\nloops: 3\n"))
    assert settings.classes == ("a", "b")
    assert settings.traindir == Path("images")
    (experiment,) = settings.experiments()
    assert (experiment.name, experiment.pool_sizes, experiment.seed) == ("uncertainty", (200, 200, 200), 0)


def test_spelling_of_the_published_tool(tmp_path: Path) -> None:
    text = """
classes: ['healthy', 'damaged']
cuda_visible_devices: 0
use_initial_train_dir: False
minority_classes: []
learning_rate: 1e-4
supervisely_meta_json: "./datasets/meta.json"
experiment_name: 'exp2/run3'
pool_size: [50, 100]
loops: [8, 4]
equal_pool_size: False
"""
    settings = load_settings(write(tmp_path, text))
    assert settings.cuda_visible_devices == "0"
    assert settings.learning_rate == pytest.approx(0.0001)
    assert settings.experiments()[0].pool_sizes == (50,) * 8 + (100,) * 4


MISTAKES = [
    ("learning_rte: 0.1", r"line 2: learning_rte: there is no such key \(did you mean 'learning_rate'\?\)"),
    ("strategies: random", r"did you mean 'strategy'"),
    ("Classes: [a]", r"line 2: Classes: there is no such key \(did you mean 'classes'\?\)"),
    ("zzz: 1", r"line 2: zzz: there is no such key$"),
    ("learning_rate: .nan", r"learning_rate: nan must be a finite number"),
    ("learning_rate: .inf", r"learning_rate: inf must be a finite number"),
    ("learning_rate: -0.1", r"learning_rate: -0.1 must be above 0"),
    ("learning_rate: '0.1'", r"'0.1' must be a number; take away the quotes"),
    ("learning_rate: [0.1, 0.2]", r"learning_rate: \[0.1, 0.2\] must be a number"),
    ("learning_rate: 0,1", r"'0,1' must be a number; write a point, not a comma"),
    ("step_ratios: ['0,5']", r"'0,5' must be a number; write a point, not a comma"),
    ("learning_rate: 0,1,2", r"'0,1,2' must be a number$"),
    ("learning_rate: True", r"learning_rate: True must be a number"),
    ("loops: '3'", r"loops: '3' must be a whole number; take away the quotes"),
    ("loops: ５", r"loops: '５' must be a whole number$"),
    ("loops: 2.5", r"loops: 2.5 must be a whole number"),
    ("loops: True", r"loops: True must be a whole number"),
    ("loops: [1, -1]", r"loops\[1\]: -1 must be at least 0"),
    ("loops: 1000000000", r"must be at most 10000"),
    ("pool_size: 0", r"pool_size: 0 must be at least 1"),
    ("pool_size: []", r"pool_size: \[\] must not be empty"),
    ("pool_size: [[1, 2], 3]", r"pool_size\[0\]: \[1, 2\] must be a whole number"),
    ("confidence_threshold: 1.5", r"1.5 must be at most 1"),
    ("dropout_probability: 0.95", r"dropout_probability: 0.95 must be at most 0.9"),
    ("mcd_iterations: 0", r"mcd_iterations: 0 must be at least 1"),
    ("repeat_factor_smallest_class: 0.5", r"0.5 must be at least 1"),
    ("checkpoint_period: 0", r"must be -1 or at least 1"),
    ("auto_annotate: 'False'", r"'False' must be True or False \(without quotes\)"),
    ("auto_annotate: 0", r"auto_annotate: 0 must be True or False"),
    ("strategy: uncertanty", r"must be one of 'uncertainty', .*did you mean 'uncertainty'"),
    ("mode: [mean, median]", r"mode\[1\]: 'median' must be one of 'mean', 'min' or 'max'"),
    ("learning_policy: 3", r"learning_policy: 3 must be one of"),
    ("train_sampler: RepeatFactorTrainingSampler", r"needs minority_classes"),
    ("minority_classes: [helthy]", r"minority_classes: 'helthy' is not in classes \(did you mean 'healthy'\?\)"),
    ("minority_classes: healthy", r"'healthy' must be a list, such as \[healthy\]"),
    ("step_ratios: [0.8, 0.5]", r"must rise"),
    ("step_ratios: [0.5, 1.5]", r"step_ratios\[1\]: 1.5 must be below 1"),
    ("valdir:", r"valdir: \(empty\) must have a value"),
    ("valdir: ''", r"valdir: '' must not be empty"),
    ("valdir: 5", r"valdir: 5 must be a path"),
    ('valdir: "C:\\train"', r"holds a control character .*write /"),
    ("experiment_name: ../up", r"must be a folder name"),
    ("experiment_name: 7", r"experiment_name: 7 must be a text; put it in quotes"),
    ("network_config: ''", r"network_config: '' must not be empty"),
    ("cuda_visible_devices: gpu0", r"must be GPU ids"),
    ("cuda_visible_devices: -1", r"must be GPU ids"),
    ("cuda_visible_devices: '0,0'", r"names a GPU twice"),
    ("seed: [1, 1]", r"holds a number twice"),
    ("seed: -1", r"seed: -1 must be a whole number from 0"),
    ("target_map: 0.4", r"target_map: 0.4 must be at least 1"),
    ("patience: 0", r"patience: 0 must be at least 1"),
    ("export_format: supervisely", r"supervisely_meta_json: is empty; export_format supervisely needs"),
    ("duplicate_initial_model_and_data: True", r"initial_train_file: is empty"),
    (
        "initial_choice: diverse\nuse_initial_train_dir: True",
        r"initial_choice: diverse chooses the initial images, and use_initial_train_dir True brings them along",
    ),
    ("budget: object", r"budget: 'object' must be one of .*did you mean 'objects'"),
    ("image_min_size: 16", r"image_min_size: 16 must be at least 32"),
    ("tile_size: 32", r"tile_size: 32 must be at least 64"),
    ("tile_size: '1024'", r"tile_size: '1024' must be a whole number; take away the quotes"),
    ("tile_overlap: 0.6", r"tile_overlap: 0.6 must be at most 0.5"),
    ("image_min_size: 900\nimage_max_size: 800", r"image_min_size: 900 is above image_max_size 800"),
    ("equal_pool_size: False\npool_size: [1, 2]\nloops: [3]", r"holds 2 sizes, but loops holds 1"),
    ("strategy: [random, random]", r"strategy: .* 2 experiments in the same folder random_mean_0.25_10_200"),
    ("loops: [1, 2]", r"loops: the lists ask for 2 experiments in the same folder"),
    ("dropout_probability: [0.251, 0.252]", r"dropout_probability: the lists ask for 2 experiments in the same folder"),
    ("strategy: bald\nmcd_iterations: 1", r"mcd_iterations: 1: bald measures how far forward passes disagree"),
    (
        "strategy: [random, bald]\ndropout_probability: [0.25, 0.0]",
        r"0.0: bald measures .* another strategy",
    ),
    ("loops: 1\nloops: 2", r"line 3: loops: stands twice, first in line 2"),
]


def test_one_mistake(tmp_path: Path) -> None:
    faults = []
    for line, words in MISTAKES:
        try:
            load_settings(write(tmp_path, f"classes: [healthy, damaged]\n{line}\n"), check_paths=False)
            mistakes: tuple[str, ...] = ()
        except SettingsError as error:
            mistakes = error.mistakes
        if len(mistakes) != 1 or not re.search(words, mistakes[0]):
            faults.append(f"{line!r}: {mistakes} instead of {words}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("loops: 1", "classes: is missing", id="no-classes"),
        pytest.param("", "classes: is missing", id="empty-file"),
        pytest.param("# a remark\n", "classes: is missing", id="remark-only"),
        pytest.param("classes: []", r"classes: \[\] must not be empty", id="empty-list"),
        pytest.param("classes: [a, b, a]", "has 'a' more than once", id="twice"),
        pytest.param("classes: [a, A]", "has 'a' and 'A', which are one name in two forms", id="capitals"),
        pytest.param("classes: [ä, a\u0308]", r"has '\\xe4' and 'a\\u0308', which are one name", id="accents"),
        pytest.param("classes: [a b, a  b]", "has 'a b' and 'a  b', which are one name", id="blanks inside"),
        pytest.param("classes: [a b, a\u00a0b]", "must not be empty, nor", id="another blank"),
        pytest.param("classes: ['{x}', '{x}']", r"has '\{x\}' more than once", id="braces"),
        pytest.param("classes: [a, no]", r"classes\[1\]: False must be a text; put it in quotes", id="yaml-no"),
        pytest.param("classes: [a, 1]", r"classes\[1\]: 1 must be a text; put it in quotes", id="number"),
        pytest.param("classes: [a, ' b']", r"' b' at \[1\]", id="blank"),
        pytest.param("classes: a", "must be a list", id="no-list"),
    ],
)
def test_wrong_classes(tmp_path: Path, text: str, words: str) -> None:
    (mistake,) = mistakes_of(tmp_path, text)
    assert re.search(words, mistake)


def test_five_mistakes_in_one_message(tmp_path: Path) -> None:
    text = """classes: [a, b, a]
learning_rat: 0.1
loops: '3'
confidence_threshold: 2
minority_classes: [c]
traindir: ./nowhere
"""
    mistakes = mistakes_of(tmp_path, text, "foo", "1", check_paths=True)
    for words in ("'a' more than once", "learning_rat:", "'3' must be", "2 must be at most 1", "'c' is not in classes"):
        assert sum(words in mistake for mistake in mistakes) == 1
    assert any("line 6: traindir: there is no folder nowhere" in mistake for mistake in mistakes)
    assert any(mistake.startswith("command line: foo:") for mistake in mistakes)
    with pytest.raises(SettingsError, match=r"settings.yaml: 5 mistakes") as caught:
        load_settings(tmp_path / "settings.yaml")
    assert len(str(caught.value).splitlines()) == 6
    assert caught.value.exit_code == 2


def test_faulty_key_brings_no_further_mistakes(tmp_path: Path) -> None:
    """A minority class cannot be judged without classes, nor a folder whose name is no text."""
    mistakes = mistakes_of(tmp_path, "minority_classes: [a]\ntraindir: 7\n", check_paths=True)
    assert sum("traindir" in mistake for mistake in mistakes) == 1
    assert not any("is not in classes" in mistake for mistake in mistakes)


@pytest.mark.parametrize(
    ("overrides", "attribute", "value"),
    [
        pytest.param(("loops", "3"), "loops", (3,), id="number"),
        pytest.param(("strategy", "[uncertainty, random]"), "strategy", ("uncertainty", "random"), id="list"),
        pytest.param(("learning_rate", "1e-3"), "learning_rate", 0.001, id="exponent"),
        pytest.param(("auto_annotate", "True"), "auto_annotate", True, id="bool"),
        pytest.param(("pretrained_weights", ""), "pretrained_weights", "", id="empty-text"),
        pytest.param(("checkpoint_period", "-1"), "checkpoint_period", -1, id="negative"),
        pytest.param(("target_map", "null"), "target_map", None, id="null"),
        pytest.param(("mode", "max", "loops", "1"), "mode", ("max",), id="two-pairs"),
        pytest.param(("cuda_visible_devices", "cpu"), "cuda_visible_devices", "cpu", id="cpu"),
    ],
)
def test_overrides(tmp_path: Path, overrides: tuple[str, ...], attribute: str, value: Any) -> None:
    settings = load_settings(write(tmp_path, "classes: [a]\nlearning_rate: 0.5\n"), overrides)
    assert getattr(settings, attribute) == value


def test_override_mends_a_wrong_value_of_the_file(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "classes: [a]\nloops: wrong\n"), ("loops", "2")).loops == (2,)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(("loops",), "command line: loops: is not followed by a value", id="no-value"),
        pytest.param(("loops", "1", "what"), "what: has no partner", id="odd-count"),
        pytest.param(
            ("lops", "1"), r"command line: lops: there is no such key \(did you mean 'loops'\?\)", id="unknown"
        ),
        pytest.param(("loops", "x"), "command line: loops: 'x' must be a whole number", id="wrong-type"),
        pytest.param(("mode", "[mean"), r"'\[mean' cannot be read as a YAML value", id="not-yaml"),
        pytest.param(("loops", "1", "loops", "2"), "loops: is given twice", id="twice"),
    ],
)
def test_wrong_overrides(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    (mistake,) = mistakes_of(tmp_path, "classes: [a]\n", *overrides)
    assert re.search(words, mistake)


@pytest.mark.parametrize(
    ("keys", "names", "pool_sizes"),
    [
        pytest.param({}, ["uncertainty"], [(200,) * 5], id="defaults"),
        pytest.param(
            {"strategy": ["uncertainty", "random"], "loops": 1},
            ["uncertainty", "random"],
            [(200,), (200,)],
            id="two-strategies",
        ),
        pytest.param(
            {"strategy": ["uncertainty", "uncertainty", "random"], "mode": ["mean", "min"], "loops": 1},
            ["uncertainty_mean_0.25_10_200", "uncertainty_min_0.25_10_200", "random"],
            [(200,)] * 3,
            id="only-the-repeated-strategy-has-a-long-name",
        ),
        pytest.param(
            {"pool_size": [50, 100, 200], "loops": [4, 2]},
            [f"uncertainty_mean_0.25_10_{size}" for size in (50, 100, 200)],
            [(50,) * 4, (100,) * 2, (200,) * 4],
            id="shorter-list-filled-up-with-its-first",
        ),
        pytest.param(
            {"dropout_probability": [0.25, 0.5], "mcd_iterations": [10, 20], "loops": 0},
            ["uncertainty_mean_0.25_10_200", "uncertainty_mean_0.50_20_200"],
            [(), ()],
            id="read-together",
        ),
        pytest.param(
            {"equal_pool_size": False, "pool_size": [100, 200], "loops": [2, 3], "strategy": ["random", "certainty"]},
            ["random", "certainty"],
            [(100, 100, 200, 200, 200)] * 2,
            id="one-schedule",
        ),
        pytest.param(
            {"equal_pool_size": False, "pool_size": [1, 2], "loops": [1, 1], "mode": ["mean", "max"]},
            ["uncertainty_mean_0.25_10_1-2", "uncertainty_max_0.25_10_1-2"],
            [(1, 2)] * 2,
            id="schedule-in-a-name",
        ),
    ],
)
def test_experiments(keys: dict[str, Any], names: list[str], pool_sizes: list[tuple[int, ...]]) -> None:
    experiments = Settings(classes=["a"], **keys).experiments()
    assert [experiment.name for experiment in experiments] == names
    assert [experiment.pool_sizes for experiment in experiments] == pool_sizes


@pytest.mark.parametrize(
    ("seed", "names", "seeds"),
    [
        pytest.param(3, ["certainty", "random"], [3, 3], id="one"),
        pytest.param([3], ["certainty_seed3", "random_seed3"], [3, 3], id="list-of-one"),
        pytest.param(
            [0, 7],
            ["certainty_seed0", "random_seed0", "certainty_seed7", "random_seed7"],
            [0, 0, 7, 7],
            id="two",
        ),
    ],
)
def test_seeds(seed: Any, names: list[str], seeds: list[int]) -> None:
    experiments = Settings(classes=["a"], strategy=["certainty", "random"], seed=seed).experiments()
    assert [experiment.name for experiment in experiments] == names
    assert [experiment.seed for experiment in experiments] == seeds


@given(
    modes=st.lists(st.sampled_from(["mean", "min", "max"]), min_size=1, max_size=3, unique=True),
    passes=st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
)
def test_every_experiment_has_its_own_folder(modes: list[str], passes: list[int], seeds: list[int]) -> None:
    experiments = Settings(classes=["a"], mode=modes, mcd_iterations=passes, seed=seeds).experiments()
    assert len(experiments) == max(len(modes), len(passes)) * len(seeds)
    assert len({experiment.name for experiment in experiments}) == len(experiments)


def test_weights_follow_the_network() -> None:
    assert Settings(classes=["a"], network_config="x/y.yaml").pretrained_weights == "x/y.yaml"
    assert Settings(classes=["a"], network_config="x/y.yaml", pretrained_weights="").pretrained_weights == ""


def test_settings_cannot_be_changed_or_contradict_themselves() -> None:
    settings = Settings(classes=["a"])
    with pytest.raises(ValidationError, match="frozen"):
        settings.loops = (3,)
    with pytest.raises(ValidationError, match="'b' is not in classes"):
        Settings(classes=["a"], minority_classes=["b"])


def test_a_wrong_file_costs_no_import_of_a_large_library(tmp_path: Path, project_root: Path) -> None:
    path = write(tmp_path, "loops: x\n")
    code = (
        "import sys\n"
        "from pathlib import Path\nfrom active_learning.errors import SettingsError\n"
        "from active_learning.settings import load_settings\n"
        "try: load_settings(Path(sys.argv[1]), check_paths=True)\n"
        "except SettingsError: print(*{'torch', 'cv2', 'scipy', 'PIL'}.intersection(sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"


@pytest.mark.parametrize(
    "overrides", ["loops 3", {"loops": "3"}, ["loops", 3], 3], ids=["text", "dict", "number", "none"]
)
def test_overrides_that_are_no_list_of_texts(overrides):
    with pytest.raises(TypeError, match="overrides must be a list of texts, such as .'loops', '3'., not"):
        load_settings(None, overrides)
