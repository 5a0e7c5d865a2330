"""What the documentation says can be done: its commands, settings, links and tables are true of this repository."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from active_learning.annotations.formats import DATA_SETS, FORMATS
from active_learning.errors import MaskALError
from active_learning.sampling.strategies import STRATEGIES
from active_learning.settings import Settings, load_settings
from active_learning.settings.file import parse_settings
from tests.docs.commands import OUTSIDE, commands, fault
from tests.docs.markdown import Piece, anchors, blocks, code_in_lines, links, rows

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted(ROOT.glob("*.md")), ROOT / "demo" / "README.md"]
BLOCKS = [block for file in FILES for block in blocks(file)]
IN_LINES = [code for file in FILES for code in code_in_lines(file)]
LANGUAGES = {"bash", "yaml", "text", "bibtex", "python"}
PROGRAMS = {"python", "python3", "make", "torchrun", *OUTSIDE}
KEYS = Settings.model_fields


def whole(pieces: list[Piece]) -> list[Piece]:
    """Without those that leave something out."""
    return [piece for piece in pieces if "..." not in piece.text and piece.text.strip()]


def snippets() -> list[Piece]:
    """YAML blocks, and settings such as `loops: 3` in lines."""
    setting = re.compile(r"(\w+): .+")
    in_lines = [c for c in whole(IN_LINES) if (found := setting.fullmatch(c.text)) and found[1] in KEYS]
    return [block for block in BLOCKS if block.language == "yaml"] + in_lines


def shell_pieces() -> list[Piece]:
    in_lines = [c for c in whole(IN_LINES) if c.text.split()[0] in PROGRAMS and len(c.text.split()) > 1]
    return [block for block in BLOCKS if block.language == "bash"] + in_lines


def test_the_files_are_found():
    assert {
        "README.md",
        "INSTALL.md",
        "ANNOTATION.md",
        "MISC_SETTINGS.md",
        "TROUBLESHOOTING.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    } <= {file.name for file in FILES if file.parent == ROOT}
    assert len(BLOCKS) > 15


def test_each_block_says_what_it_is():
    """`text` is for pictures, layouts and output; whatever else stands in a block is checked below."""
    faults = [f"{block}: a block of {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES]
    others = [block for block in BLOCKS if block.language != "bash"]
    faults += [f"{block}: a command" for block in others if block.text.split(maxsplit=1)[0] in PROGRAMS]
    assert not faults, "\n".join(faults)


def test_commands_can_be_given():
    found = [(piece, commands(piece.text)) for piece in shell_pieces()]
    faults = [f"{piece}: no command" for piece, listed in found if not listed]
    given = [(f"{piece}: {' '.join(words)}", words) for piece, listed in found for words in listed]
    faults += [f"{place}: {why}" for place, words in given if (why := fault_of(words))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python nothing.py", "there is no such file"),
        ("python maskAL.py --config maskAL.yaml --chekc", "there is no option --chekc"),
        ("python maskAL.py --config nothing.yaml", "there is no such file"),
        ("python -m active_learning.nothing", "there is no module"),
        ("python -m active_learning.annotations convert --form labelme", "there is no option --form"),
        ("torchrun --nproc-per-node 2 nothing.py", "there is no such file"),
        ("make nothing", "nothing"),
        ("pip remove torch", "not among"),
        ("pip install --no-such-thing torch", "there is no option --no-such-thing"),
        ("python -c 'import no_such_module'", "No module named 'no_such_module'"),
        ("cowsay hello", "no such program"),
        ("python maskAL.py --config maskAL.yaml loops -1", "loops: -1"),
    ],
)
def test_a_command_that_cannot_be_given_is_noticed(command: str, words: str):
    ((words_of_command),) = commands(command)
    assert words in fault_of(words_of_command)


def fault_of(words: list[str]) -> str:
    try:
        return fault(words)
    except (MaskALError, SystemExit) as error:
        return str(error) or repr(error)


def test_yaml_snippets_are_settings(tmp_path: Path):
    """A snippet is taken as a change to maskAL.yaml; one that names classes also stands alone."""
    shipped = parse_settings((ROOT / "maskAL.yaml").read_text(encoding="utf-8")).values
    faults = [why for snippet in snippets() for why in snippet_faults(snippet, shipped, tmp_path / "settings.yaml")]
    assert not faults, "\n".join(faults)


def snippet_faults(snippet: Piece, shipped: dict[str, object], file: Path) -> Iterator[str]:
    raw = parse_settings(snippet.text)
    if raw.mistakes or not raw.readable:
        yield f"{snippet}: {raw.mistakes}"
    variants = [{**shipped, **needs(raw.values), **raw.values}] + ([raw.values] if "classes" in raw.values else [])
    for values in variants:
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        try:
            load_settings(file)
        except MaskALError as error:
            yield f"{snippet}: {error}"


def needs(values: dict[str, object]) -> dict[str, object]:
    """Keys that a single one in a line presupposes."""
    needed: dict[str, object] = {}
    if values.get("export_format") == "supervisely":
        needed["supervisely_meta_json"] = "meta.json"
    if values.get("train_sampler") == "RepeatFactorTrainingSampler":
        needed["minority_classes"] = ["cateye"]
    if isinstance(strategies := values.get("strategy"), list) and len(set(strategies)) < len(strategies):
        needed["mode"] = ["mean", "min"]
    if values.get("equal_pool_size") is False:
        needed |= {"pool_size": [100, 200], "loops": [2, 3]}
    return needed


def test_links_lead_somewhere():
    found = [link for file in FILES for link in links(file)]
    assert found
    lost = [f"{link}: {link.text}" for link in found if not leads_somewhere(link)]
    assert not lost, "\n".join(lost)


def leads_somewhere(link: Piece) -> bool:
    if link.text.startswith(("https://", "http://")):
        return True
    path, _, anchor = link.text.partition("#")
    target = link.file.parent / path if path else link.file
    return target.exists() and (not anchor or anchor in anchors(target))


def test_pictures_are_small_and_shown():
    pictures = sorted((ROOT / "demo" / "pictures").iterdir())
    assert pictures
    shown = {(link.file.parent / link.text).resolve() for file in FILES for link in links(file)}
    faults = [f"{path.name} is large" for path in pictures if path.stat().st_size >= 300_000]
    faults += [f"{path.name} is shown nowhere" for path in pictures if path not in shown]
    assert not faults, "\n".join(faults)


def test_each_key_is_documented_once_with_its_default():
    documented = rows(ROOT / "MISC_SETTINGS.md", "key")
    assert sorted(cells[0] for cells in documented) == sorted(f"`{key}`" for key in KEYS)
    wrong = [f"{cells[0]} {cells[1]}" for cells in documented if not is_default(cells[0].strip("`"), cells[1])]
    assert wrong == []
    assert all(cell for cells in documented for cell in cells[2:])


def is_default(key: str, said: str) -> bool:
    field = KEYS[key]
    if said in ("none", "as `network_config`"):
        return field.is_required() or key == "pretrained_weights"
    if said == "empty":
        return field.default in (None, "")
    values = {"classes": ["any"], key: yaml.safe_load(said.strip("`"))}
    return getattr(Settings.model_validate(values), key) == field.default


def test_keys_of_the_readme_exist():
    named = [name for cells in rows(ROOT / "README.md", "key") for name in re.findall(r"`(\w+)`", cells[0])]
    assert len(named) > 8
    assert set(named) <= set(KEYS)


def test_strategies_are_documented_as_in_their_table():
    documented = [tuple(cells) for cells in rows(ROOT / "MISC_SETTINGS.md", "strategy")]
    assert documented == [(f"`{name}`", one.chooses, one.source) for name, one in STRATEGIES.items()]


def test_the_annotation_tools_are_those_of_the_table():
    annotation = ROOT / "ANNOTATION.md"
    files = {name: f"{'a.jpg' if tool.named_after_image else 'a'}{tool.suffix}" for name, tool in FORMATS.items()}
    assert {cells[0].strip("`"): cells[1].strip("`") for cells in rows(annotation, "`export_format`")} == files
    (setting,) = [cells for cells in rows(ROOT / "MISC_SETTINGS.md", "key") if cells[0] == "`export_format`"]
    assert setting[2] == ", ".join(f"`{name}`" for name in FORMATS)
    text = " ".join(annotation.read_text(encoding="utf-8").split())
    assert f"| | {' | '.join(tool.title for tool in FORMATS.values())} |" in text
    assert f"| beside the image MaskAL reads | {' | '.join(f'`{file}`' for file in files.values())} |" in text
    *others, last = (f"`{name}`" for name in (*FORMATS, *DATA_SETS))
    assert f"`--to` is {', '.join(others)} or {last}." in text
    *others, last = FORMATS
    assert f"{', '.join(others)} or {last}\n" in (ROOT / "maskAL.yaml").read_text(encoding="utf-8")


def test_the_layout_in_the_readme_names_what_is_there():
    (layout,) = [block for block in blocks(ROOT / "README.md") if block.text.startswith("maskAL.py")]
    folders: list[tuple[int, str]] = []
    named = 0
    for line in layout.text.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent > 4 or not line.strip():  # the words on the right go on
            continue
        folders = [(width, name) for width, name in folders if width < indent]
        for name in itertools.takewhile(re.compile(r"[.\w]+(/|\.\w+)$").match, line.split()):
            assert (ROOT / "".join(folder for _, folder in folders) / name).exists(), line
            named += 1
            if name.endswith("/"):
                folders.append((indent, name))
    assert named > 20


def test_the_savings_tables_are_those_of_the_study():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = (ROOT / "benchmarks" / "results" / "savings_demo_imbalanced.md").read_text(encoding="utf-8").split("\n\n")
    tables = [part.strip() for part in parts if part.startswith("|")]
    assert len(tables) == 2 and all(table in page for table in tables)
