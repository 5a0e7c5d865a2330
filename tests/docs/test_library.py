"""The example of `active_learning` as a library runs as it stands; the citation names this version and the paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import active_learning
from demo import make_dataset
from tests.docs.markdown import blocks, rows

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (example,) = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert len([line for line in example.splitlines() if line and "import " not in line]) <= 10
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "demo.yaml").symlink_to(ROOT / "demo" / "demo.yaml")
    order = make_dataset.Order(train=1, val=0, test=0, seed=0, width=96, height=72)
    make_dataset.make_dataset(tmp_path / "demo" / "run" / "datasets", order)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102
    annotation, certainty = capsys.readouterr().out.splitlines()
    assert annotation.startswith("72 96 ['")
    assert 0 < float(certainty) < 1


def test_the_public_names_are_there_and_documented():
    documented = [name.strip("` ") for row in rows(ROOT / "README.md", "public name") for name in row[0].split(",")]
    assert sorted(documented) == active_learning.__all__
    assert (ROOT / "active_learning" / "py.typed").is_file()
    assert [name for name in active_learning.__all__ if not hasattr(active_learning, name)] == []


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == active_learning.__version__
    assert {"message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    (entry,) = [block.text for block in blocks(ROOT / "README.md") if block.language == "bibtex"]
    fields = dict(re.findall(r"(\w+) = \{(.*)\},?$", entry, re.M))
    assert paper["title"] == fields["title"].replace("{", "").replace("}", "")
    assert (paper["doi"], paper["journal"], str(paper["volume"]), str(paper["start"]), str(paper["year"])) == (
        fields["doi"],
        fields["journal"],
        fields["volume"],
        fields["pages"],
        fields["year"],
    )
    names = [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    assert " and ".join(names) == fields["author"]


def test_the_newest_version_of_the_changelog_is_this():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (.*)$", text, re.M)[1] == active_learning.__version__


def test_blame_passes_over_whole_hashes():
    lines = (ROOT / ".git-blame-ignore-revs").read_text(encoding="utf-8").splitlines()
    hashes = [line for line in lines if not line.startswith("#")]
    assert hashes and all(re.fullmatch(r"[0-9a-f]{40}", line) for line in hashes)
