"""Commands as a user writes them."""

from __future__ import annotations

import os
import sys

import pytest

from active_learning.system import programs
from active_learning.system.programs import as_typed, command_words


@pytest.mark.parametrize(
    ("text", "reason"),
    [("'open", "No closing quotation"), ("no-such-program x", "there is no program 'no-such-program'"), ("''", "''")],
)
def test_commands_that_cannot_be(text, reason):
    with pytest.raises(ValueError, match=reason):
        command_words(text)


@pytest.mark.skipif(os.name == "nt", reason="quotes as on POSIX")
def test_a_command_is_split_without_a_shell(tmp_path):
    assert command_words(f"'{sys.executable}' -m 'a b' ; $HOME") == [sys.executable, "-m", "a b", ";", "$HOME"]


def test_windows_paths_keep_their_backslashes(monkeypatch):
    monkeypatch.setattr(programs.os, "name", "nt")
    monkeypatch.setattr(programs.shutil, "which", lambda word: word)
    assert command_words(r'"C:\Program Files\labelme.exe" --x C:\a') == [
        r"C:\Program Files\labelme.exe",
        "--x",
        r"C:\a",
    ]


@pytest.mark.parametrize(
    ("system", "typed"),
    [("posix", "convert '/data/my images' --classes 'head rot' weed"),
     ("nt", 'convert "/data/my images" --classes "head rot" weed')],
)  # fmt: skip
def test_a_command_has_the_quotes_of_the_systems_shell(monkeypatch, system, typed):
    monkeypatch.setattr(programs.os, "name", system)
    assert as_typed(["convert", "/data/my images", "--classes", "head rot", "weed"]) == typed
