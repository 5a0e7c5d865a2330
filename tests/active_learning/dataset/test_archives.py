from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from active_learning.dataset.archives import DAMAGED_ARCHIVE, MEMBERS, is_archive, is_of_an_image, members


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("a.zip", "A.ZIP", "a.tar.gz", "a.tgz", "a.7z", "a.Rar")),
        *((name, False) for name in ("a.json", ".a.zip", ".a.7z", "7z", "a.7z.json")),
    ],
)
def test_archives_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_archive(name) == expected


def test_of_a_zip_all_members_are_listed_and_of_a_tar_the_first(tmp_path: Path) -> None:
    names = [f"labels/{number}.txt" for number in range(MEMBERS + 5)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as package:
        for name in names:
            package.writestr(name, "")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as package:
        for name in names:
            package.addfile(tarfile.TarInfo(name))
    assert [str(member) for member in members(tmp_path / "a.zip")] == names
    assert [str(member) for member in members(tmp_path / "a.tar.gz")] == names[:MEMBERS]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.7z", "a.rar"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4", b"\x1f\x8b\x08"])
def test_a_damaged_archive_raises_what_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DAMAGED_ARCHIVE):
        list(members(tmp_path / name))


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("a.json", True),
        ("ds/ann/a.png.json", True),
        ("train/labels/a.TXT", True),
        ("labels/train/a.txt", True),
        ("a.txt", False),
        ("labels.txt", False),
        ("labels/a.png", False),
        ("data.yaml", False),
    ],
)
def test_members_that_are_of_an_image(member: str, expected: bool) -> None:
    assert is_of_an_image(PurePosixPath(member)) == expected
