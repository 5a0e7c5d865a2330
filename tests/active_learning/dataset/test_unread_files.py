"""What bears the name of an image without an annotation, and is not read, is named; what cameras write is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_learning.dataset.image_folder import find_annotations, take_snapshot
from active_learning.dataset.unread_files import unread_files


def lines(train: Path, *names: str) -> list[str]:
    """Names that end with `/` are folders."""
    for name in names:
        path = train / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("{}", encoding="utf-8")
    snapshot = take_snapshot(train)
    pairs, _ = find_annotations(train, snapshot.images, snapshot=snapshot)
    return unread_files(snapshot, [name for name in snapshot.images if name not in pairs])


@pytest.mark.parametrize(
    "name",
    ["a.json.txt", "a.json.orig", "a.json~", "a.json.gz", "a.json.bak", "a.jsn", "a.geojson", "a.mat", "a.pkl", "a.svg",
     "a.npy", "a_seg.npy", "a.csv", "a.zip", "a.jpg.geojson", "a.jpg.json.orig", "labelTxt/a.txt", "rois/a.zip",
     "a.json/", "a.xml/", "A/a.geojson"],
)  # fmt: skip
def test_what_bears_the_name_of_an_image_is_named(train: Path, name: str) -> None:
    (line,) = lines(train, "a.jpg", "b.jpg", name)
    assert line.startswith(f"{train / name}{'/' if name.endswith('/') else ''}: bears the name of a.jpg, which has no")
    assert line.endswith("and is not read; if it is its annotation, save it as one that is read")


def test_a_kind_has_one_line_with_its_count(train: Path) -> None:
    images = [f"{number}.png" for number in range(9)]
    found = lines(train, *images, *(f"{number}.geojson" for number in range(9)), "0.json.txt")
    assert len(found) == 2
    assert (
        f"{train / '0.geojson'}: bears the name of 0.png, which has no annotation, and is not read (9 files" in found[0]
    )


@pytest.mark.parametrize("name", [".a.json.icloud", ".a.jpg.json.icloud"])
def test_an_annotation_that_is_stored_elsewhere_is_named(train: Path, name: str) -> None:
    (line,) = lines(train, "a.jpg", name)
    assert line.endswith("which has no annotation, and stands for a file that is stored elsewhere; download that")


def test_an_image_that_is_stored_elsewhere_is_named(train: Path) -> None:
    (line,) = lines(train, "b.jpg", ".a.png.icloud", "a.json")
    assert line == f"{train / '.a.png.icloud'}: stands for an image that is stored elsewhere; download that"


def test_an_image_without_a_suffix_is_named(train: Path) -> None:
    (line,) = lines(train, "b.jpg", "a", "a.json", "README")
    reason = "an annotation bears its name, but it has no suffix of an image; rename it if it is one"
    assert line == f"{train / 'a'}: {reason}"


@pytest.mark.parametrize(
    "name",
    ["a.xmp", "a.jpg.xmp", "a.THM", "a.AAE", "a.jpg.json", "a.jpg.supplemental-metadata.json", "a.jpg.aux.xml", "a.ovr",
     "a.tfw", "a.cr2", "a.mp4", "a.heic", "a.txt", "labels/b.geojson", "._a.json", ".a.json.swp", "ab.geojson", "a",
     "a.lock", "a.json.tmp", "a_mask.png", "s/a.jpg"],
)  # fmt: skip
def test_what_belongs_to_no_annotation_is_not_named(train: Path, name: str) -> None:
    assert lines(train, "a.jpg", name) == []


def test_of_an_image_with_an_annotation_nothing_is_named(train: Path) -> None:
    shape = '{"shapes": [], "imagePath": "a.jpg", "imageHeight": 4, "imageWidth": 4}'
    lines(train, "a.jpg", "a.geojson", "a.json.orig", "s/a.jpg")
    (train / "a.json").write_text(shape, encoding="utf-8")
    assert lines(train) == []


def test_texts_like_label_files_are_named_as_such_elsewhere(train: Path) -> None:
    lines(train, "a.jpg", "label/a.txt")
    (train / "label/a.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.2", encoding="utf-8")
    assert lines(train) == []
