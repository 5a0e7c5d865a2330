"""The annotation tool of the setting `annotator`, started on the annotate folder.

LabelMe gets the class names, and options for saving by itself, without the image in the file, and for refusing other
labels, as far as the installed version has them: 5 and 6 name them differently. Another tool gets the folder alone,
and the class names in the environment variable MASKAL_CLASSES, one a line.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from active_learning.system.programs import as_typed, command_words
from active_learning.system.saving import quiet_check

SECONDS_FOR_HELP = 60  # LabelMe loads its windows toolkit before it answers
SECONDS_TO_END = 10
QUIET_SECONDS = 0.5  # longer than a save takes
SECONDS_TO_BE_QUIET = 5
POLL_SECONDS = 0.05
LINES_SHOWN = 5


@dataclass(frozen=True)
class ToolCommand:
    """What is started: the last word is the folder. `saves_itself`: the tool saves every change at once, so that ending
    it loses nothing but what it is saving at that moment."""

    words: tuple[str, ...]
    saves_itself: bool = False

    def __str__(self) -> str:
        return as_typed(self.words)


def tool_command(words: Sequence[str], folder: Path, classes: Sequence[str]) -> ToolCommand:
    """The command that opens the folder."""
    if not any("labelme" in Path(word).name.lower() for word in words):
        return ToolCommand((*words, str(folder)))
    text = _help_of(words)
    options = [option for option in ("--nodata", "--autosave") if _knows(text, option)]
    if _knows(text, "--labels") and not any("," in name for name in classes):  # LabelMe would take the name for two
        options.append(f"--labels={','.join(classes)}")
        spellings = (option for option in ("--validate-label", "--validatelabel") if _knows(text, option))
        options += [f"{option}=exact" for option in list(spellings)[:1]]
    saves_itself = "--autosave" in options or (_knows(text, "--no-auto-save") and _saves_by_default())
    return ToolCommand((*words, *options, str(folder)), saves_itself)


def _help_of(words: Sequence[str]) -> str:
    """What it prints for --help; "" where it does not."""
    try:
        done = subprocess.run(
            [*words, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS_FOR_HELP, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _knows(help_text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text) is not None


def _saves_by_default() -> bool:
    """Whether the user's settings file leaves LabelMe 6 to save by itself."""
    try:
        settings = yaml.safe_load((Path.home() / ".labelmerc").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return True
    return not isinstance(settings, dict) or settings.get("auto_save") is not False


class AnnotatorTool:
    """A tool that was started. One that cannot be started is reported, and counts as closed."""

    def __init__(
        self, command: ToolCommand, classes: Sequence[str], output: IO[bytes], report: Callable[[str], None]
    ) -> None:
        """`output` takes what the tool prints; `report` gets what the person must know."""
        self.command = command
        self._output = output
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._was_reported = False
        # In a session of its own, so that Ctrl-C in our terminal does not reach it.
        try:
            self._process = subprocess.Popen(
                command.words,
                env={**os.environ, "MASKAL_CLASSES": "\n".join(classes)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            self._was_reported = True
            report(f"annotator: {command.words[0]} cannot be started: {error.strerror or error}")

    @property
    def is_open(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def watch(self) -> None:
        """Reports, once, that the tool was closed and how to open it again."""
        if self.is_open or self._was_reported:
            return
        self._was_reported = True
        code = self._process.returncode if self._process is not None else 0
        reason = f" with code {code}:\n{self._last_lines()}" if code else "."
        self._report(
            f"The annotation tool was closed{reason}\nMaskAL goes on waiting. To open it again:\n  {self.command}"
        )

    def end(self) -> None:
        """Ends the tool if that loses nothing; else it stays open, and its person is asked to save."""
        if self._process is None or not self.is_open:
            return
        if not self.command.saves_itself:
            self._report("The annotation tool stays open, as it may hold unsaved work. Save it and close the tool.")
            return
        self._await_the_last_save()
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._report("The annotation tool does not end; close it yourself.")

    def _await_the_last_save(self) -> None:
        """A tool empties a file before it writes it: ended in between it leaves half of what was drawn, or nothing."""
        is_quiet, end = quiet_check(Path(self.command.words[-1]), QUIET_SECONDS), time.monotonic() + SECONDS_TO_BE_QUIET
        while not is_quiet() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def _last_lines(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
        return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN:])


@contextmanager
def open_tool(
    annotator: str, folder: Path, classes: Sequence[str], report: Callable[[str], None]
) -> Iterator[AnnotatorTool | None]:
    """The tool of the setting on the folder, until the end of the block.

    None for "", and where there is no such program (any more), which is reported.
    """
    try:
        words = command_words(annotator) if annotator.strip() else []
    except ValueError as error:
        report(f"annotator: {error}. MaskAL goes on without it: open {folder} in your tool")
        words = []
    if not words:
        yield None
        return
    command = tool_command(words, folder, classes)
    report(f"Starting {command}")
    with tempfile.TemporaryFile() as output:
        tool = AnnotatorTool(command, classes, output, report)
        try:
            yield tool
        finally:
            tool.end()


class KeptTool:
    """The tool on one annotate folder, open from when images are put there until they are annotated."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.tool: AnnotatorTool | None = None
        self._report = report
        self._opened = ExitStack()

    @property
    def is_open(self) -> bool:
        return self.tool is not None and self.tool.is_open

    def open(self, annotator: str, folder: Path, classes: Sequence[str]) -> None:
        """Once for the same images, also where a person has closed it since."""
        if self.tool is None:
            self.tool = self._opened.enter_context(open_tool(annotator, folder, classes, self._report))

    def watch(self) -> None:
        if self.tool is not None:
            self.tool.watch()

    def end(self) -> None:
        self.tool = None
        self._opened.close()
