"""Names that lists or other systems cannot hold are refused at the start; all others are kept to the letter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from active_learning.dataset.image_folder import find_images, take_snapshot
from active_learning.dataset.image_names import names_of
from active_learning.errors import MaskALError
from active_learning.run.output_files import (
    read_pool_scores,
    read_train_files,
    write_pool_scores,
    write_train_files,
)

REFUSED = {
    "not UTF-8": ([b"caf\xe9.png"], r"that are not UTF-8: 'caf\udce9.png'"),
    "folder not UTF-8": ([b"f\xe9ld/a.png"], r"that are not UTF-8: 'f\udce9ld/a.png'"),
    "line break": ([b"a\nb.png"], r"with a line break: 'a\nb.png'"),
    "carriage return": ([b"a\rb.png"], r"with a line break: 'a\rb.png'"),
    "folder with a line break": ([b"s\n/a.png"], r"with a line break: 's\n/a.png'"),
    "drive": ([b"c:a.png"], "that begin like a drive of Windows: 'c:a.png'"),
    "capitals": ([b"A.png", b"a.png"], "that are one but for capitals or the form of accents: 'A.png' and 'a.png'"),
    "capital suffix": ([b"a.PNG", b"a.png"], "'a.PNG' and 'a.png'"),
    "capital folder": ([b"S/a.png", b"s/a.png"], "'S/a.png' and 's/a.png'"),
    "accents": (["ä.png".encode(), "a\u0308.png".encode()], r"'a\u0308.png' and '\xe4.png'"),
    "accents and capitals": (["Ä.png".encode(), "a\u0308.png".encode()], r"'a\u0308.png' and '\xc4.png'"),
    "no room for an annotation": ([b"x" * 251 + b".sr"], "that leave no room for that of an annotation: 'xxx"),
    "many": ([f"{n}\n.png".encode() for n in range(5)], r"'0\n.png', '1\n.png', '2\n.png' and 2 more"),
}
KEPT = [" a.png", "a, b.png", "a, NaN.png", "a\u2028b.png", "a\x85b.png", "a\x0bb.png", "a\x1cb.png", "a\u2029b.png",
        "\u00a0a.png", "\ufeffa.png", "s /a.png", "s/c:a.png", "#a%20b.png", "\u202ea.png"]  # fmt: skip


def add(folder: Path, name: bytes) -> None:
    path = folder / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_told_apart_or_listed_are_refused(train: Path, name: str) -> None:
    files, message = REFUSED[name]
    for file in files:
        add(train, file)
    if len({entry.name for entry in os.scandir(train)}) < len({file.split(b"/")[0] for file in files}):
        pytest.skip("this file system takes them for one")
    with pytest.raises(MaskALError) as caught:
        take_snapshot(train)
    assert f"{train}: image names " in str(caught.value)
    assert message in str(caught.value)
    assert str(caught.value).endswith("; rename them, each with its annotation")
    str(caught.value).encode()  # it can be shown and logged


def test_all_kinds_are_named_at_once(train: Path) -> None:
    for name in (b"c:a.png", b"a\nb.png", b"\xe9.png"):
        add(train, name)
    with pytest.raises(MaskALError) as caught:
        find_images(train)
    assert len(str(caught.value).split("\n")) == 3


def test_other_names_stay_to_the_letter(train: Path, tmp_path: Path) -> None:
    for name in KEPT:
        add(train, name.encode())
    names = find_images(train)
    assert names == sorted(KEPT)
    write_train_files(tmp_path / "list.txt", names, {names[0]: 0.5})
    assert read_train_files(tmp_path / "list.txt") == names
    write_pool_scores(tmp_path / "pool.csv", dict.fromkeys(names, 0.25))
    assert read_pool_scores(tmp_path / "pool.csv") == dict.fromkeys(names, 0.25)


def test_files_that_are_no_images_may_have_any_name(train: Path) -> None:
    for name in (b"a.png", b"caf\xe9.txt", b"caf\xe9.json", b"A.json", b"a.json"):
        add(train, name)
    assert find_images(train) == ["a.png"]
    add(train, b"caf\xe9.\xe9")
    (note,) = take_snapshot(train).notes
    assert "1 '.\\udce9'" in note


@pytest.mark.parametrize("prefix", ["3f2a1b4c", "12345678", "40219377", "20991301", "99999999", "32122024"])
def test_an_upload_of_label_studio_has_the_name_that_it_had_before(prefix: str) -> None:
    """Its prefix is of hexadecimal digits, which may all be decimal ones."""
    assert [*dict.fromkeys(names_of(f"images/{prefix}-a%20b.png"))] == [
        f"{prefix}-a%20b.png",
        f"{prefix}-a b.png",
        "a b.png",
    ]


@pytest.mark.parametrize(
    "prefix", ["20240131", "19991201", "31122024", "12312024", "00012345", "3F2A1B4C", "3f2a1b4", "3f2a1b4c5"]
)
def test_a_date_or_number_is_no_upload(prefix: str) -> None:
    assert {*names_of(f"{prefix}-a.png")} == {f"{prefix}-a.png"}
