"""Where images and annotations lie for each tool."""

from __future__ import annotations

import pytest

from active_learning.annotations import FORMATS
from active_learning.conversion.layouts import Place, places_of

NAMES = ["a.jpg", "sub/a.jpg", "sub/b.TIF", "sub/deep/c.png"]


@pytest.mark.parametrize(
    ("tool", "places"),
    [
        pytest.param(
            "labelme",
            ["a.jpg a.json", "sub/a.jpg sub/a.json", "sub/b.TIF sub/b.json", "sub/deep/c.png sub/deep/c.json"],
            id="labelme",
        ),
        pytest.param(
            "cvat",
            [
                "default/a.jpg default/a.xml",
                "default/sub/a.jpg default/sub/a.xml",
                "default/sub/b.TIF default/sub/b.xml",
                "default/sub/deep/c.png default/sub/deep/c.xml",
            ],
            id="cvat",
        ),
        pytest.param(
            "darwin",
            [
                "images/a.jpg annotations/a.json",
                "images/sub/a.jpg annotations/sub/a.json",
                "images/sub/b.TIF annotations/sub/b.json",
                "images/sub/deep/c.png annotations/sub/deep/c.json",
            ],
            id="darwin",
        ),
        pytest.param(
            "supervisely",
            [
                "ds0/img/a.jpg ds0/ann/a.jpg.json",
                "sub/img/a.jpg sub/ann/a.jpg.json",
                "sub/img/b.png sub/ann/b.png.json",
                "sub/datasets/deep/img/c.png sub/datasets/deep/ann/c.png.json",
            ],
            id="supervisely",
        ),
        pytest.param(
            "yolo",
            [
                "images/a.jpg labels/a.txt",
                "images/sub/a.jpg labels/sub/a.txt",
                "images/sub/b.TIF labels/sub/b.txt",
                "images/sub/deep/c.png labels/sub/deep/c.txt",
            ],
            id="yolo",
        ),
    ],
)
def test_places(tool, places):
    assert places_of(tool, NAMES) == dict(zip(NAMES, (Place(*one.split()) for one in places), strict=True))


@pytest.mark.parametrize("tool", [name for name, tool in FORMATS.items() if not tool.named_after_image])
def test_images_of_one_stem_have_annotations_of_their_own(tool):
    places = places_of(tool, ["a.jpg", "A.png", "b.jpg"])
    names = [place.annotation.rpartition("/")[2].rpartition(".")[0] for place in places.values()]
    assert names == ["a.jpg", "A.png", "b"]


@pytest.mark.parametrize("tool", FORMATS)
def test_a_stem_that_is_another_images_name_names_no_annotation(tool):
    places = places_of(tool, ["a.jpg", "a.png", "a.jpg.jpg", "a.jpg.PNG", "b.TIF", "b.tif.png"])
    assert len({place.annotation.casefold() for place in places.values()}) == len(places)


def test_data_sets_of_supervisely_do_not_mix():
    places = places_of("supervisely", ["a.jpg", "ds0/a.jpg", "ds0_0/a.jpg"])
    assert [place.image for place in places.values()] == ["ds0_1/img/a.jpg", "ds0/img/a.jpg", "ds0_0/img/a.jpg"]


def test_converted_images_take_no_name_of_another():
    places = places_of("supervisely", ["a.png", "a.tif", "a.tif.png", "b.tif", "b.ppm"])
    images = [place.image.removeprefix("ds0/img/") for place in places.values()]
    assert images == ["a.png", "a.tif_2.png", "a.tif.png", "b.png", "b.ppm.png"]


@pytest.mark.parametrize("tool", FORMATS)
def test_nothing_shares_a_place(tool):
    names = [f"{folder}{stem}.{suffix}" for folder in ("", "s/", "s/t/") for stem in "ab" for suffix in ("png", "tif")]
    places = places_of(tool, names).values()
    assert len({place.image for place in places}) == len({place.annotation for place in places}) == len(names)


@pytest.mark.parametrize(
    ("names", "images"),
    [
        pytest.param(["a.jpg", "A.png", "s/a.jpg"], ["a.jpg", "A.png.png", "s/a.jpg"], id="one stem"),
        pytest.param(
            ["a.jpg", "a.png", "a.png.jpg"], ["a.jpg", "a.png_2.png", "a.png.jpg"], id="the new name is taken"
        ),
        pytest.param(["a.jp2", "b.PPM", "b.jpg"], ["a.png", "b.png", "b.jpg.jpg"], id="kinds that are not read"),
    ],
)
def test_images_of_yolo_have_stems_of_their_own(names, images):
    places = places_of("yolo", names)
    assert [place.image.removeprefix("images/") for place in places.values()] == images
    assert len({place.annotation.casefold() for place in places.values()}) == len(names)


def test_a_folder_images_within_the_images_of_yolo():
    assert places_of("yolo", ["x/images/a.jpg"])["x/images/a.jpg"] == Place(
        "images/x/images/a.jpg", "images/x/labels/a.txt"
    )
