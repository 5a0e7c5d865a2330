"""Images found by the names that annotation files give them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from active_learning.conversion.image_index import ImageIndex, Match

FLAT = ["a.png", "b.jpg", "sub/a.png", "sub/c.png"]
DEEP = ["f/1/1/a.png", "f/1/2/a.png", "f/2/1/a.png", "f/2/2/a.png"]
RELEASE = ["images/a.png", "images/sub/a.png", "images/sub/d.png"]


@pytest.mark.parametrize(
    ("images", "named", "place", "found", "exact"),
    [
        pytest.param(FLAT, "a.png", ".", ["a.png"], True, id="beside"),
        pytest.param(FLAT, "a.png", "sub", ["sub/a.png"], True, id="beside, in a sub-folder"),
        pytest.param(FLAT, "sub/a.png", ".", ["sub/a.png"], True, id="path from the root"),
        pytest.param(FLAT, "sub/a.png", "labels/x", ["sub/a.png"], True, id="path from the root, given elsewhere"),
        pytest.param(FLAT, "..\\sub\\a.png", "labels", ["sub/a.png"], True, id="path of Windows"),
        pytest.param(FLAT, "b.png", ".", ["b.jpg"], True, id="another suffix"),
        pytest.param(FLAT, "b", ".", ["b.jpg"], True, id="no suffix"),
        pytest.param(FLAT, "c.png", ".", ["sub/c.png"], False, id="in some folder"),
        pytest.param(FLAT, "C:\\x\\c.png", ".", ["sub/c.png"], False, id="of another machine"),
        pytest.param(FLAT, "/x/b.jpg", "sub", ["b.jpg"], True, id="of another machine, at the root"),
        pytest.param(FLAT, "pool/b.jpg", ".", ["b.jpg"], True, id="with the name of the root"),
        pytest.param(FLAT, "data/pool/sub/a.png", ".", ["sub/a.png"], True, id="with names above the root"),
        pytest.param(FLAT, "field/b.jpg", ".", [], False, id="in a folder that is not there"),
        pytest.param(FLAT, "d.png", ".", [], False, id="not there"),
        pytest.param(FLAT, "", ".", [], False, id="no name"),
        pytest.param(RELEASE, "a.png", "annotations", ["images/a.png"], True, id="release"),
        pytest.param(RELEASE, "sub/a.png", "annotations", ["images/sub/a.png"], True, id="release, in a folder"),
        pytest.param(RELEASE, "d.png", "annotations", ["images/sub/d.png"], False, id="release, a folder more"),
        pytest.param(["plot_1.jpg"], "plot_1.5m", ".", [], False, id="a name with a dot, which is no suffix"),
        pytest.param(["plot_1.5m.jpg"], "plot_1.5m", ".", ["plot_1.5m.jpg"], True, id="a name with a dot"),
        pytest.param(FLAT, "b.HEIC", ".", ["b.jpg"], True, id="of an image that was converted"),
        pytest.param(["x/a.png", "y/a.png"], "a.png", ".", ["x/a.png", "y/a.png"], False, id="one of two"),
        pytest.param(["x/a.png", "y/a.png"], "a.png", "y/ann", ["y/a.png"], True, id="the nearer of two"),
        pytest.param(["f/1/a.png", "f/2/a.png"], "a.png", "json/2", ["f/2/a.png"], False, id="in folders of that name"),
        pytest.param(DEEP, "a.png", "json/2/1", ["f/2/1/a.png"], False, id="in two folders of those names"),
        pytest.param(DEEP, "a.png", "json/3/1", ["f/1/1/a.png", "f/2/1/a.png"], False, id="in one of those names"),
        pytest.param(["1/a.png", "2/a.png"], "a.png", "p/2/ann", ["2/a.png"], True, id="around a tool's folder"),
        pytest.param(["train/a.png", "val/a.png"], "C:\\d\\val\\a.png", "train", ["val/a.png"], True, id="its end"),
        pytest.param(["train/a.png", "val/a.png"], "../d/val/a.png", ".", ["val/a.png"], True, id="its end, relative"),
        pytest.param(
            ["old/a.png", "new/images/a.png"], "a.png", ".", ["new/images/a.png", "old/a.png"], False, id="old"
        ),
        pytest.param(["images/a.png", "thumbs/a.png"], "a.png", "annotations", ["images/a.png"], True, id="the tool's"),
        pytest.param(["a.png", "a.jpg"], "a.bmp", ".", ["a.png", "a.jpg"], True, id="one stem"),
    ],
)
def test_find(images, named, place, found, exact):
    match = ImageIndex(Path("/data/pool"), images).find(named, place)
    assert (sorted(match.images), match.exact) == (sorted(found), exact)


@pytest.mark.parametrize(
    ("named", "other"),
    [("b.jpg", False), ("b.JPG", False), ("b", False), ("b.png", True), ("b.HEIC", True), ("plot_1.5m", False)],
)
def test_another_suffix_is_seen(named, other):
    match = ImageIndex(Path("/data/pool"), [*FLAT, "plot_1.5m.jpg"]).find(named, ".")
    assert (match.exact, match.other_suffix) == (True, other)


def test_accents_compare_however_they_are_stored():
    composed, decomposed = (f"{unicodedata.normalize(form, 'ä')}.png" for form in ("NFC", "NFD"))
    assert ImageIndex(Path("/d"), [decomposed]).find(composed, ".") == Match((decomposed,), exact=True)
