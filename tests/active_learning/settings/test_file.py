from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_learning.errors import SettingsError
from active_learning.settings import load_settings
from active_learning.settings.file import RawSettings, add_overrides, parse_settings, read_settings_file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: 1\nb: [1, 2\nc: 3\n", "at column 2", id="open-bracket"),
        pytest.param("a: 1\n\tb: 2\n", "at column 1", id="tab"),
        pytest.param('a: "C:\\data"\n', "in a path write / instead of \\", id="windows-path"),
        pytest.param("a: 'x\n", "not a YAML file", id="open-quote"),
        pytest.param("a: 1\nb:3\nc: 2\nd: 4\n", "line 2: not a YAML file: could not find expected ':'", id="no-blank"),
        pytest.param("a: 1\nb = 3\nc: 2\n", "; write `key: value`, with a blank behind the colon", id="equals"),
        pytest.param("a: 1\n\tb: 3\n", "use blanks instead of tabs", id="tab"),
        pytest.param("a: \x01\n", "a character that no text holds at column 4", id="control-character"),
        pytest.param("- a\n- b\n", "must be of the form `key: value`", id="list"),
        pytest.param("just words\n", "must be of the form `key: value`", id="text"),
        pytest.param("a: 1\n---\nb: 2\n", "not a YAML file", id="two-documents"),
        pytest.param("a: !!python/object:os.system x\n", "not a YAML file", id="python-object"),
        pytest.param('a: "\\Uffffffff"\n', "not a YAML file", id="impossible character"),
        pytest.param("a: " + "[" * 5000, "not a YAML file", id="too-deep"),
    ],
)
def test_unreadable_text(text: str, words: str) -> None:
    raw = parse_settings(text)
    assert not raw.readable
    (mistake,) = raw.mistakes
    assert words in str(mistake)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        ("1.5e3", 1500.0),
        ("2026-11-23", "2026-11-23"),
        ("0.5", 0.5),
        ("e4", "e4"),
        ("'1e-4'", "1e-4"),
        ("False", False),
        ("", None),
        ("0,1", "0,1"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_settings(f"key: {text}").values == {"key": value}


def test_lines_and_duplicates() -> None:
    raw = parse_settings("# remark\na: 1\n\nb: 2\na: 3\nb: 4\n")
    assert raw.values == {"a": 1, "b": 2}
    assert raw.lines == {"a": 2, "b": 4}
    assert [str(mistake) for mistake in raw.mistakes] == [
        "line 5: a: stands twice, first in line 2; delete one of the two",
        "line 6: b: stands twice, first in line 4; delete one of the two",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "there is no such file", id="missing"),
        pytest.param(b"a: \xff\xfe", "byte 3 is not UTF-8", id="not-utf-8"),
    ],
)
def test_unreadable_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    raw = read_settings_file(path)
    assert not raw.readable
    assert words in str(raw.mistakes[0])


@pytest.mark.parametrize("path", ["", "folder", "null\0"])
def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="cannot be read") as raised:
        load_settings(path)
    assert "Command line" not in str(raised.value), "a path was given"


def test_file_of_windows_notepad(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: gr\xc3\xbcn\r\n")
    assert read_settings_file(path).values == {"a": 1, "b": "grün"}


def test_override_with_a_second_key_inside() -> None:
    raw = RawSettings({"a": 1})
    add_overrides(raw, ["a", "2\nb: 3"], known=["a"])
    assert raw.values == {"a": 1}
    assert "cannot be read as a YAML value" in str(raw.mistakes[0])


@given(st.text())
def test_any_text_is_read_or_explained(text: str) -> None:
    raw = parse_settings(text)
    assert raw.readable == (not raw.mistakes) or raw.values
