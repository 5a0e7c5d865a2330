"""Whether a command of the documentation can be given: its program, sub-command, options and files are there."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import auto_annotate
import export_onnx
import maskAL
from active_learning.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
# Programs of others: the sub-commands that the documentation may use (an empty set: it has none).
OUTSIDE: dict[str, set[str]] = {
    "cd": set(),
    "conda": {"create", "activate"},
    "cp": set(),
    "docker": {"build", "run"},
    "git": {"clone", "config", "pull"},
    "labelme": set(),
    "mkdir": set(),
    "mypy": set(),
    "nvidia-smi": set(),
    "pip": {"install", "uninstall", "wheel"},
    "pipx": {"install"},
    "ruff": {"check", "format"},
    "source": set(),
    "tensorboard": set(),
    "uv": {"pip", "tool", "venv"},
}
IN_ENVIRONMENT = {"mypy": "mypy", "pip": "pip", "ruff": "ruff", "tensorboard": "tensorboard.main"}
WITH_HELP = {"conda", "docker", "labelme", "uv"}
IMAGE = "maskal"  # of Docker; what stands behind it is for the program inside
FILE_OPTIONS = ("--config", "--config-file", "--requirement", "-r", "--file", "-f")


def commands(text: str) -> list[list[str]]:
    """The words of each command; remarks and line ends with a backslash are understood."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def fault(words: Sequence[str]) -> str:
    """Empty where the command can be given."""
    return "; ".join(_faults(list(words)))


def _faults(words: list[str]) -> Iterator[str]:
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[0] == "srun":  # SLURM's, before a command
        words = words[1:]
    program, rest = words[0], words[1:]
    yield from _missing_files(rest)
    if program in ("python", "python3"):
        yield from _python(rest)
    elif program == "torchrun":
        script = next(index for index, word in enumerate(rest) if word.endswith(".py"))
        yield from _unknown_options(rest[:script], _module_help("torch.distributed.run"))
        yield from _python(rest[script:])
    elif program == "make":
        yield from _make(rest)
    elif program in console_scripts():
        yield from _script(ROOT / f"{console_scripts()[program]}.py", rest)
    elif program in OUTSIDE:
        yield from _outside(program, rest)
    else:
        yield f"{program}: no such program is known to the tests (OUTSIDE in tests/docs/commands.py)"


def _missing_files(words: Sequence[str]) -> Iterator[str]:
    for option, value in zip(words, words[1:], strict=False):
        files = (ROOT / value, ROOT / "configs" / value)  # the second of the model zoo
        if option in FILE_OPTIONS and not any(path.is_file() for path in files):
            yield f"{option} {value}: there is no such file"


def _python(words: list[str]) -> Iterator[str]:
    first, *rest = words
    if first == "-c":
        yield from _code(rest[0])
    elif first == "-m":
        yield from _module(rest)
    elif not (ROOT / first).is_file():
        yield f"{first}: there is no such file"
    else:
        yield from _script(ROOT / first, rest)


def _code(code: str) -> Iterator[str]:
    """Here, where PyTorch is loaded."""
    try:
        with contextlib.redirect_stdout(None):
            exec(code, {})  # noqa: S102 - of our own pages
    except Exception as error:  # noqa: BLE001 - whatever it is, the command cannot be given
        yield str(error)


def _module(words: list[str]) -> Iterator[str]:
    name, *rest = words
    if importlib.util.find_spec(name) is None:
        yield f"there is no module {name}"
    elif name == "pip":
        yield from _outside("pip", rest)
    elif rest and not rest[0].startswith("-") and name.startswith("active_learning"):
        yield from _unknown_options(rest, _module_help(name, rest[0]))  # a sub-command
    elif name != "venv":
        yield from _unknown_options(rest, _module_help(name))


def _script(script: Path, words: list[str]) -> Iterator[str]:
    """Its options; what our own two programs are given is read as they read it themselves."""
    unknown = list(_unknown_options(words, _help(str(script))))
    yield from unknown
    if unknown or not words or {"--help", "--version"} & set(words):
        return
    if script.name == "maskAL.py":
        parsed = maskAL.parse_arguments(words)
        load_settings(ROOT / parsed.config, parsed.overrides)
    elif script.name == "auto_annotate.py":
        auto_annotate.parse_arguments(words)
    elif script.name == "export_onnx.py":
        export_onnx.parse_arguments(words)


def _make(targets: Sequence[str]) -> Iterator[str]:
    if shutil.which("make"):
        done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            yield done.stderr.strip()


def _outside(program: str, words: list[str]) -> Iterator[str]:
    """Options are looked at where the program is installed here."""
    allowed = OUTSIDE[program]
    deep = program == "uv" and words[:1] != ["venv"]
    sub_command = words[: 2 if deep else 1] if allowed else []
    if allowed and not allowed.issuperset(words[:1] or [""]):
        yield f"{program} {' '.join(words[:1])}: not among {sorted(allowed)}"
        return
    if program == "docker" and sub_command == ["run"]:
        image = words.index(IMAGE)
        yield from _faults(["maskal", *words[image + 1 :]])
        words = words[:image]
    if program in IN_ENVIRONMENT:
        yield from _unknown_options(words, _module_help(IN_ENVIRONMENT[program], *sub_command))
    elif program in WITH_HELP and shutil.which(program):
        yield from _unknown_options(words, _run(program, *sub_command, "--help"))


def _unknown_options(words: Sequence[str], help_text: str) -> Iterator[str]:
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", help_text))
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--?[A-Za-z][\w-]*", option) and option not in known:
            yield f"there is no option {option}"


@functools.cache
def console_scripts() -> dict[str, str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(re.findall(r'^([\w-]+) = "(\w+):main"$', project, re.M))


def _module_help(module: str, *sub_command: str) -> str:
    return _help("-m", module, *sub_command)


@functools.cache
def _help(*program: str) -> str:
    return _run(sys.executable, *program, "--help")


def _run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
