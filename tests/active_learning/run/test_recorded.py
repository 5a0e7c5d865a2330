"""Names that are read from a run's files lead nowhere else; damaged files as a whole: test_state_files.py."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from active_learning.errors import MaskALError
from active_learning.run.recorded import FileName, ImageName, check_values

FILE, IMAGE = TypeAdapter(FileName), TypeAdapter(ImageName)


@pytest.mark.parametrize("name", ["00.jpg", "a b.png", "..jpg", "ü"])
def test_a_file_beside(name: str):
    assert check_values(FILE, name, "why.json", "delete it") == name


@pytest.mark.parametrize("name", ["", ".", "..", "../a.jpg", "a/b.jpg", "/a.jpg", 3, None])
def test_no_file_beside(name: object):
    with pytest.raises(MaskALError, match=r"^why\.json: .*; delete it$"):
        check_values(FILE, name, "why.json", "delete it")


@pytest.mark.parametrize("name", ["", "../a.jpg", "/a.jpg", "a\nb.jpg", "a\ud800.jpg", "x" * 4097, 3])
def test_no_name_of_an_image(name: object):
    with pytest.raises(MaskALError, match=r"^list: .*; delete it$"):
        check_values(IMAGE, name, "list", "delete it")
