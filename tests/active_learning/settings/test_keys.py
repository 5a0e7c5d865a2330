from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.settings.keys import SettingsKeys, key_mistakes, usable_class_names
from active_learning.settings.settings import settings_mistakes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@settings(max_examples=30, deadline=None)
@given(value=VALUES)
def test_any_value_is_taken_or_explained_for_any_key(value: object) -> None:
    for key in SettingsKeys.model_fields:
        found = key_mistakes({"classes": ["a"], key: value})
        assert all(name == key and message.startswith(key) and "\n" not in message for name, message in found), key
        if not found:
            assert SettingsKeys.model_validate({"classes": ["a"], key: value}), key


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("cuda_visible_devices", "0, 1", "0,1"),
        ("cuda_visible_devices", "CPU", "cpu"),
        ("cuda_visible_devices", 2, "2"),
        ("cuda_visible_devices", "GPU-8932f937-d72c", "GPU-8932f937-d72c"),
        ("initial_train_file", "", None),
        ("initial_train_file", None, None),
        ("initial_train_file", "a/b.txt", Path("a/b.txt")),
        ("traindir", "~/x", Path.home() / "x"),
        ("learning_rate", 1, 1.0),
        ("seed", [4, 5], (4, 5)),
        ("seed", 4, 4),
        ("mode", "min", ("min",)),
        ("step_ratios", [], ()),
        ("image_min_size", None, None),
    ],
    ids=str,
)
def test_values(key: str, value: object, expected: object) -> None:
    assert getattr(SettingsKeys.model_validate({"classes": ["a"], key: value}), key) == expected


def test_all_mistakes_of_a_list_are_reported() -> None:
    messages = [message for _, message in key_mistakes({"classes": ["a", 1, None]})]
    assert messages == [
        "classes[1]: 1 must be a text; put it in quotes",
        "classes[2]: (empty) must have a value; give one or delete the line",
    ]


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        pytest.param(["a", "a", 1, " b", ""], ["a", "b"], id="faulty ones"),
        pytest.param("a", [], id="no list"),
        pytest.param(None, [], id="empty"),
        pytest.param([True], [], id="no text"),
        pytest.param(["a", "x" * 201, "x" * 200], ["a", "x" * 200], id="too long"),
        pytest.param([f"c{i}" for i in range(2001)], [f"c{i}" for i in range(2000)], id="too many"),
    ],
)
def test_usable_class_names(classes: object, names: list[str]) -> None:
    assert usable_class_names(classes) == names


@pytest.mark.parametrize("classes", [["a", "x" * 201], [f"c{i}" for i in range(2001)], ["a", "\n"], 1], ids=str)
def test_other_keys_are_checked_although_the_classes_are_faulty(classes: object) -> None:
    values = {"classes": classes, "mode": "all", "minority_classes": ["b"]}
    assert {"classes", "mode"} <= {key for key, _ in settings_mistakes(values, check_paths=False)}
