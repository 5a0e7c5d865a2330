"""Starting, watching and ending an annotation tool; small Python scripts stand for the tools."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from active_learning.annotating import tool as annotator
from active_learning.annotating.tool import AnnotatorTool, KeptTool, ToolCommand, open_tool, tool_command

HELP_5 = "usage: labelme [--nodata] [--autosave] [--labels LABELS] [--validatelabel {exact}] [filename]"
HELP_6 = "usage: labelme [--with-image-data] [--no-auto-save] [--labels LABELS] [--validate-label {exact}] [path]"
CLASSES = ["disc", "big square"]


def script(path: Path, text: str) -> list[str]:
    path.write_text(f"import json, os, sys, time\n{text}", encoding="utf-8")
    return [sys.executable, str(path)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


@pytest.mark.parametrize(
    ("help_text", "options", "saves_itself"),
    [
        pytest.param(
            HELP_5, ["--nodata", "--autosave", "--labels=disc,big square", "--validatelabel=exact"], True, id="5"
        ),
        pytest.param(HELP_6, ["--labels=disc,big square", "--validate-label=exact"], True, id="6"),
        pytest.param("", [], False, id="no help"),
    ],
)
def test_labelme_gets_the_options_that_it_has(tmp_path, help_text, options, saves_itself):
    words = script(tmp_path / "labelme.py", f"print({help_text!r})")
    command = tool_command(words, tmp_path / "my images", CLASSES)
    assert command.words == (*words, *options, str(tmp_path / "my images"))
    assert command.saves_itself is saves_itself
    assert shlex.split(str(command)) == list(command.words)


def test_a_name_that_labelme_would_take_for_two_is_not_given(tmp_path):
    words = script(tmp_path / "labelme.py", f"print({HELP_6!r})")
    assert tool_command(words, tmp_path, ["a,b", "c"]).words == (*words, str(tmp_path))


def test_a_settings_file_may_have_switched_saving_off(tmp_path):
    (tmp_path / ".labelmerc").write_text("auto_save: false\n", encoding="utf-8")
    words = script(tmp_path / "labelme.py", f"print({HELP_6!r})")
    assert not tool_command(words, tmp_path, CLASSES).saves_itself


def test_another_tool_gets_the_folder_alone(tmp_path):
    assert tool_command(["paint", "-x"], tmp_path, CLASSES) == ToolCommand(("paint", "-x", str(tmp_path)))


def test_a_tool_that_never_answers_gets_no_options(tmp_path, monkeypatch):
    monkeypatch.setattr(annotator, "SECONDS_FOR_HELP", 0.5)
    words = script(tmp_path / "labelme.py", "time.sleep(60)")
    assert tool_command(words, tmp_path, CLASSES).words == (*words, str(tmp_path))


def wait_until(seen) -> None:
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_tool_that_saves_itself_is_ended(tmp_path):
    notes = tmp_path / "notes.json"
    text = f"""
if "--help" in sys.argv: sys.exit(print({HELP_5!r}))
open({str(notes)!r} + ".tmp", "w").write(json.dumps([sys.argv[1:], os.environ["MASKAL_CLASSES"]]))
os.replace({str(notes)!r} + ".tmp", {str(notes)!r})
time.sleep(60)"""
    words, logged = script(tmp_path / "labelme.py", text), []
    with open_tool(shlex.join(words), tmp_path, CLASSES, logged.append) as tool:
        wait_until(notes.exists)
        tool.watch()
        assert tool.is_open
    assert not tool.is_open
    given, classes = json.loads(notes.read_text(encoding="utf-8"))
    assert given[-1] == str(tmp_path)
    assert classes == "disc\nbig square"
    assert len(logged) == 1
    assert logged[0].startswith("Starting ")


def test_a_tool_is_not_ended_while_it_saves(tmp_path):
    drawn, begun = tmp_path / "images" / "a.json", tmp_path / "begun"
    drawn.parent.mkdir()
    text = f"""
if "--help" in sys.argv: sys.exit(print({HELP_5!r}))
with open({str(drawn)!r}, "w") as file:
    open({str(begun)!r}, "w").close()
    for number in range(10):
        file.write(str(number))
        file.flush()
        time.sleep(0.1)
time.sleep(60)"""
    with open_tool(shlex.join(script(tmp_path / "labelme.py", text)), drawn.parent, CLASSES, lambda _: None) as tool:
        wait_until(begun.exists)
    assert not tool.is_open
    assert drawn.read_text(encoding="utf-8") == "0123456789"


def test_a_tool_that_saves_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(annotator, "SECONDS_TO_BE_QUIET", 0.6)
    drawn = tmp_path / "images" / "a.json"
    drawn.parent.mkdir()
    text = f"""
if "--help" in sys.argv: sys.exit(print({HELP_5!r}))
while True:
    open({str(drawn)!r}, "w").close()
    time.sleep(0.05)"""
    with open_tool(shlex.join(script(tmp_path / "labelme.py", text)), drawn.parent, CLASSES, lambda _: None) as tool:
        wait_until(drawn.exists)
    assert not tool.is_open


def test_a_tool_with_unsaved_work_stays_open(tmp_path):
    words, logged = script(tmp_path / "paint.py", "time.sleep(60)"), []
    with open_tool(shlex.join(words), tmp_path, CLASSES, logged.append) as tool:
        assert tool.is_open
    assert tool.is_open
    assert "stays open" in logged[-1]
    tool._process.kill()
    tool._process.wait()


def test_a_closed_tool_is_logged_once_with_how_to_open_it_again(tmp_path):
    words, logged = script(tmp_path / "paint.py", "print('no display'); sys.exit(3)"), []
    with open_tool(shlex.join(words), tmp_path, CLASSES, logged.append) as tool:
        wait_until(lambda: not tool.is_open)
        tool.watch()
        tool.watch()
    assert "closed with code 3:\n  no display" in logged[1]
    assert str(tool.command) in logged[1]
    assert len(logged) == 2


def test_a_tool_that_cannot_be_started_is_logged(tmp_path):
    logged = []
    with (tmp_path / "output").open("w+b") as output:
        tool = AnnotatorTool(ToolCommand((str(tmp_path / "gone"),)), CLASSES, output, logged.append)
        assert not tool.is_open
        tool.watch()
        tool.end()
    assert len(logged) == 1
    assert "cannot be started: No such file" in logged[0]


@pytest.mark.parametrize("annotator", ["no_such_program", "paint 'a"])
def test_a_tool_that_is_not_there_any_more_is_logged(tmp_path, annotator):
    logged = []
    tool = KeptTool(logged.append)
    tool.open(annotator, tmp_path, CLASSES)
    tool.watch()
    assert not tool.is_open
    tool.end()
    assert len(logged) == 1
    assert logged[0].startswith("annotator: ") and str(tmp_path) in logged[0]


def test_no_tool_is_wanted(tmp_path):
    with open_tool(" ", tmp_path, CLASSES, lambda _: pytest.fail("nothing is to be logged")) as tool:
        assert tool is None
