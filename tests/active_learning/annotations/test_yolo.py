"""Label files of YOLO segmentation: what a line may hold, and what is written."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations import Annotation, Bitmap, Instance, Part
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.yolo import kinds_of_rows, label_text, read_labels, rows_of, tracks_of_rows
from active_learning.annotations.yolo_layout import label_path, looks_like_labels
from active_learning.errors import AnnotationError

HEIGHT, WIDTH = 50, 100
NAMES = {0: "healthy", 1: "ä b", 3: "gap"}
SQUARE = "0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6"  # 20 x 20 pixels


def read(path: Path, content: str | bytes) -> Annotation:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(path, NAMES, image="a.png", size=(HEIGHT, WIDTH))


def areas(annotation: Annotation) -> list[tuple[str, int]]:
    return [(one.label, int(instance_mask(one, HEIGHT, WIDTH).sum())) for one in annotation.instances]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"0 {SQUARE}\n", id="plain"),
        pytest.param(f"0 {SQUARE}", id="no line end"),
        pytest.param(f"\n\n0 {SQUARE}\n  \n\n", id="blank lines"),
        pytest.param(f"0 {SQUARE}\r\n", id="Windows"),
        pytest.param(f"0 {SQUARE}\r", id="old Mac"),
        pytest.param(f"\ufeff0 {SQUARE}\n", id="byte order mark"),
        pytest.param(f"# made by hand\n0 {SQUARE}\n", id="remark"),
        pytest.param(f"  0\t{SQUARE.replace(' ', '   ')} \n", id="tabs and blanks"),
        pytest.param(f"0.0 {SQUARE}\n", id="class number as 0.0"),
        pytest.param("0 1e-1 2e-1 3E-1 0.2 +.3 .6 1.0e-01 6.0e-1\n", id="exponents"),
        pytest.param(f"0 {SQUARE} 0.1 0.2\n", id="closed"),
    ],
)
def test_a_square(tmp_path, content):
    annotation = read(tmp_path / "a.txt", content)
    assert areas(annotation) == [("healthy", 400)]
    assert (annotation.warnings, annotation.lost) == ((), ())
    assert (annotation.image, annotation.height, annotation.width) == ("a.png", HEIGHT, WIDTH)


@pytest.mark.parametrize("content", ["", "\n", "# nothing here\n", "\ufeff"])
def test_an_empty_file_is_an_image_without_objects(tmp_path, content):
    annotation = read(tmp_path / "a.txt", content)
    assert (annotation.instances, annotation.warnings, annotation.lost) == ((), (), ())


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        pytest.param("0 0.2 0.4 0.2 0.4", "line 2: class '0': is a box (x y width height), not an outline", id="box"),
        pytest.param("0 0.2 0.4 0.2 0.4 0.9", "is a box (x y width height), not an outline", id="box with confidence"),
        pytest.param(f"0 {SQUARE} 0.9", "9 numbers are no x, y pairs; a confidence or a track", id="confidence"),
        pytest.param(f"0 {SQUARE} 0.9 2", "ends in 0.9 2, which look like a confidence and the number", id="track 2"),
        pytest.param(f"0 {SQUARE} 0.9 77", "ends in 0.9 77, which look like a confidence", id="track 77"),
        pytest.param("0 0.1 0.2 0.3 0.2 0.3 0.6 0.1", "7 numbers are no x, y pairs", id="cut off"),
        pytest.param("0", "has no points", id="class alone"),
        pytest.param("0 0.1 0.2", "a polygon needs 3 points, not 1", id="a point"),
        pytest.param("0 0.1 0.2 0.3 0.4 0.2 0.3", "has no area", id="a line"),
        pytest.param("0 0,1 0,2 0,3 0,2 0,3 0,6", "'0,1' is no number; write decimal points", id="decimal comma"),
        pytest.param(
            "0,0.1,0.2,0.3,0.2,0.3,0.6", "is no number of a class; write decimal points, and blanks", id="csv"
        ),
        pytest.param("0;.1;.2;.3;.2;.3;.6", "is no number of a class; write decimal points", id="semicolons"),
        pytest.param("0 0.1 0.2 0.3 x 0.3 0.6", "'x' is no number", id="a word"),
        pytest.param("0 0.1 0.2 nan 0.2 0.3 0.6", "a coordinate is not a number", id="NaN"),
        pytest.param("0 0.1 0.2 inf 0.2 0.3 0.6", "a coordinate is not a number", id="infinity"),
        pytest.param(
            "0 10 10 30 10 30 30 10 30", "30 is no share of width or height, 0 to 1; divide pixels", id="pixels"
        ),
        pytest.param("0 0.1 0.2 0.3 0.2 0.3 -1.5", "-1.5 is no share of width or height", id="far outside"),
        pytest.param("0 1.1 0.2 1.3 0.2 1.3 0.6", "lies outside the image", id="beside the image"),
        pytest.param(f"-1 {SQUARE}", "is no number of a class", id="negative"),
        pytest.param(f"0.5 {SQUARE}", "is no number of a class", id="half a class"),
        pytest.param(f"healthy {SQUARE}", "class 'healthy': is no number of a class", id="a name"),
        pytest.param(f"nan {SQUARE}", "is no number of a class", id="class NaN"),
    ],
)
def test_a_line_that_cannot_be_read_is_lost_with_its_reason(tmp_path, row, fault):
    path = tmp_path / "a.txt"
    annotation = read(path, f"1 {SQUARE}\n{row}\n")
    assert areas(annotation) == [("ä b", 400)]
    (warning,), (lost,) = annotation.warnings, annotation.lost
    assert warning.startswith(f"{path}: line 2: class ") and warning.endswith("; the object is left out")
    assert fault in warning
    assert lost.label == ("" if "no number of a class" in fault else "healthy")


@pytest.mark.parametrize(
    ("row", "area"),
    [
        pytest.param("0 -0.1 -0.2 0.3 -0.2 0.3 0.6 -0.1 0.6", 900, id="over the upper left corner"),
        pytest.param("0 0.9 0.8 1.004 0.8 1.004 1.004 0.9 1.004", 100, id="by a rounding"),
        pytest.param("0 0.1 0.4 0.4 0.4 0.5 1", 445, id="a triangle whose last corner is at the lower border"),
    ],
)
def test_what_hangs_over_the_border_is_cut_off(tmp_path, row, area):
    annotation = read(tmp_path / "a.txt", row)
    assert areas(annotation) == [("healthy", area)]
    assert annotation.warnings == ()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"0 0.1 0.2\xff", "byte 9 is not UTF-8 text", id="unreadable bytes"),
        pytest.param(
            f"1 {SQUARE}\n4 {SQUARE}", "line 2: class 4 has no name, as 0, 1, 3 have; give the data.yaml", id="class"
        ),
        pytest.param(f"2.0 {SQUARE}", "line 1: class 2 has no name", id="class in a gap"),
        pytest.param("0 0.1".encode("utf-16"), "byte 0 is not UTF-8 text", id="UTF-16"),
    ],
)
def test_a_file_that_is_no_text_or_of_other_classes_is_an_error(tmp_path, content, fault):
    with pytest.raises(AnnotationError, match=fault):
        read(tmp_path / "a.txt", content)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({0: "a", 1: "b"}, "class 4 has no name, as 0 to 1 have; give"),
        ({0: "a", 1: "", 2: "c"}, "class 4 has no name, as 0, 2 have; give"),
        ({0: " "}, "class 4 has no name; give the data.yaml"),
    ],
    ids=["all", "one without a name", "none"],
)
def test_the_classes_with_a_name_are_told(tmp_path, names, words):
    (tmp_path / "a.txt").write_text(f"4 {SQUARE}", encoding="utf-8")
    with pytest.raises(AnnotationError, match=words):
        read_labels(tmp_path / "a.txt", names, image="a.png", size=(HEIGHT, WIDTH))


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as stream:
        stream.truncate(2**33)
    with pytest.raises(AnnotationError, match="no annotation has more than"):
        rows_of(path)


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("a.jpg", "a.txt"),
        ("images/a.b.jpg", "labels/a.b.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/x/images/a.jpg", "images/x/labels/a.txt"),
        ("my images/images.jpg", "my images/images.txt"),
    ],
)
def test_where_ultralytics_looks_for_labels(image, place):
    assert label_path(image) == place


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"0 {SQUARE}", True),
        (f"\ufeff# x\n\n12 {SQUARE}\n", True),
        ("0 0,5 0,5 0,1 0,1\n", True),
        ("0 nan 0.5 0.1 0.1\n", True),
        (f"0 {SQUARE} " * 200, True),
        ("0 " + "0.123456789 " * 1000 + "\n", True),
        ("0\t" + "0.123456789\t" * 1000 + "\n", True),
        *((f"#{'x' * place}\n0{' 1.5e-01' * 1000}\n", True) for place in range(8)),  # what is read ends in a number
        ("", None),
        ("# nothing\n\n", None),
        ("a photo of 3 plants\n", False),
        ("3 plants in a row\n", False),
        ("images/train/a.jpg\n", False),
        ("0\n", False),
    ],
)
def test_a_label_file_is_known_by_its_first_line(tmp_path, content, expected):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    assert looks_like_labels(tmp_path / "a.txt") is expected


@pytest.mark.parametrize("more", [1, 200])
def test_a_label_file_in_utf_16_is_refused_not_passed_over(tmp_path, more):
    (tmp_path / "a.txt").write_bytes(f"0 {SQUARE * more}\r\n".encode("utf-16"))
    assert looks_like_labels(tmp_path / "a.txt")
    with pytest.raises(AnnotationError, match="save the file as UTF-8"):
        read_labels(tmp_path / "a.txt", {0: "healthy"}, image="a.jpg", size=(10, 10))


def test_boxes_and_outlines_with_four_corners_are_counted(tmp_path):
    box, other = "0 0.2 0.4 0.2 0.4\n", "0 0.1 0.2 0.3 0.2 0.3 0.6\n"
    for name, content in {"a": f"{box}0 {SQUARE}\n", "b": f"\n{box}", "c": f"{other}{box}"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    kinds = kinds_of_rows([tmp_path / "a", tmp_path / "b"])
    assert (kinds.boxes, kinds.corners, kinds.others, kinds.first) == (2, 1, False, f"{tmp_path / 'a'}: line 1")
    assert kinds_of_rows([tmp_path / "c", tmp_path / "gone"]).others


BELOW = "0.1 0.2 0.3 0.2 0.3 1 0.1 1"  # at the lower border, and its last point, too


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        pytest.param([f"0 {SQUARE} 0.9 1", f"0 {BELOW}"], "a: line 1: ends in 0.9 1", id="one that may be an outline"),
        pytest.param([f"0 {BELOW}", f"0 {SQUARE} 0.9 7"], "a: line 1: ends in 0.1 1", id="the other way round"),
        pytest.param([f"0 {BELOW}"] * 30, "", id="objects at the lower border"),
        pytest.param([f"0 {SQUARE} 0.9 7", f"0 {SQUARE}"], "", id="not all"),
        pytest.param([f"0 {SQUARE} 0.9", f"0 {SQUARE} 7"], "", id="refused anyway"),
        pytest.param(["0 a b", "0"], "", id="no numbers"),
    ],
)
def test_a_data_set_of_tracks_is_known_where_all_objects_have_one(tmp_path, rows, place):
    for name, part in {"a": rows[:1], "b": rows[1:]}.items():
        (tmp_path / name).write_text("\n".join(part), encoding="utf-8")
    fault = tracks_of_rows([tmp_path / "a", tmp_path / "b", tmp_path / "gone"])
    assert fault.startswith(f"{tmp_path}{os.sep}{place}" if place else "") and bool(fault) == bool(place)


@pytest.mark.parametrize("row", [f"0 {SQUARE} 0.9 1", "0 0.5 0.5 0.8 0.9 0.9 1"], ids=["outline", "box"])
@pytest.mark.parametrize(
    ("others", "is_track"),
    [
        pytest.param([], True, id="alone"),
        pytest.param([f"0 {SQUARE} 0.8 2", f"0 {SQUARE} 0.8"], True, id="where all lines may have one"),
        pytest.param([f"0 {BELOW}"], True, id="beside an object at the lower border"),
        pytest.param([f"0 {SQUARE}"], False, id="beside an outline that ends in none"),
    ],
)
def test_a_line_ends_in_a_track_only_where_all_of_its_file_may(tmp_path, row, others, is_track):
    """Ultralytics writes it behind all objects of an image; else it is a corner at the lower border, as of a leaf."""
    annotation = read(tmp_path / "a.txt", "\n".join([row, *others]))
    lost = [one.fault for one in annotation.lost if "line 1: class '0': ends in 0.9 1, which look" in one.fault]
    assert (bool(lost), "line 1" in [one.origin for one in annotation.instances]) == (is_track, not is_track)


@pytest.mark.parametrize("points", [[[10, 5], [30, 5], [20, 50]], [[10, 5], [12, 5], [12, 7], [10, 50]]])
def test_what_is_written_is_not_taken_for_a_track(tmp_path, points):
    given = Annotation("a.png", HEIGHT, WIDTH, (Instance("gap", (Part(np.array(points, float)),)),))
    found = read(tmp_path / "a.txt", label_text(given, {"gap": 3}).text)
    assert (found.warnings, areas(found)) == ((), areas(given))


def ring() -> Part:
    return Part(
        np.array([[10.0, 5], [40, 5], [40, 35], [10, 35]]), (np.array([[20.0, 15], [30, 15], [30, 25], [20, 25]]),)
    )


FAR = Part(np.array([[60.0, 10], [80, 10], [80, 40]]))
NEAR = Part(np.array([[30.0, 20], [60, 20], [60, 45], [30, 45]]))
BLOB = Bitmap(3, 4, np.kron(np.array([[1, 1, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 1]]), np.ones((6, 7))) > 0)
SHAPES = {
    "a polygon": (Instance("healthy", (FAR,)), 0),
    "a hole": (Instance("healthy", (ring(),)), 1),
    "parts": (Instance("healthy", (Part(ring().exterior), FAR)), 1),
    "parts with holes": (Instance("healthy", (ring(), FAR)), 1),
    "parts that overlap": (Instance("healthy", (Part(ring().exterior), NEAR)), 0),
    "a part over a hole": (Instance("healthy", (ring(), NEAR)), 1),
    "a mask with a hole, in parts": (Instance("healthy", (), BLOB), 1),
    "over the border": (Instance("healthy", (Part(ring().exterior - (25, 20)), FAR)), 1),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_one_outline_cannot_hold_is_joined_and_comes_back(tmp_path, name):
    instance, joined = SHAPES[name]
    written = label_text(Annotation("a.png", HEIGHT, WIDTH, (instance,)), {"healthy": 0}, max_polygon_error=0.5)
    assert (written.objects, written.joined, written.text.count("\n")) == (1, joined, 1)
    found = read(tmp_path / "a.txt", written.text)
    assert found.warnings == ()
    assert np.array_equal(instance_mask(found.instances[0], HEIGHT, WIDTH), instance_mask(instance, HEIGHT, WIDTH))


@pytest.mark.parametrize("name", SHAPES)
def test_a_tool_that_fills_the_outline_as_it_is_sees_the_object(name):
    """As cv2.fillPoly does for Ultralytics, which paints lines and borders a pixel wide."""
    height, width, scale = HEIGHT, WIDTH, 16
    instance, _ = SHAPES[name]
    written = label_text(Annotation("a.png", height, width, (instance,)), {"healthy": 0}, max_polygon_error=0.5)
    points = np.array(written.text.split()[1:], np.float64).reshape(-1, 2) * (width * scale, height * scale)
    painted = np.zeros((height * scale, width * scale), np.uint8)
    cv2.fillPoly(painted, [points.astype(np.int32)], 1)
    wanted = np.kron(instance_mask(instance, height, width), np.ones((scale, scale), bool))
    assert (painted.astype(bool) ^ wanted).mean() < 0.01


def test_numbers_are_those_of_the_classes_and_shares_are_short():
    square = Part(np.array([[0.0, 0], [50, 0], [50, 25], [0, 25]]))
    annotation = Annotation("a.png", HEIGHT, WIDTH, (Instance("b", (square,), None, 0.5), Instance("a", (square,))))
    assert label_text(annotation, {"a": 0, "b": 1}).text == "1 0 0 0.5 0 0.5 0.5 0 0.5\n0 0 0 0.5 0 0.5 0.5 0 0.5\n"


def test_what_has_no_area_in_the_image_is_dropped():
    specks = [np.array([[200.0, 2], [210, 2], [210, 9]]), np.array([[2.0, 2], [2.001, 2], [2.001, 2.001]])]
    annotation = Annotation("a.png", HEIGHT, WIDTH, tuple(Instance("healthy", (Part(one),)) for one in specks))
    assert label_text(annotation, {"healthy": 0}) == label_text(Annotation("a.png", HEIGHT, WIDTH), {"healthy": 0})


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200), st.text("0123456789.,-+eEnaif \t\r\n#\ufeff", max_size=200).map(str.encode)
    )
)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_bytes(content)
    looks_like_labels(path)
    kinds_of_rows([path])
    try:
        annotation = read_labels(path, NAMES, image="a.png", size=(HEIGHT, WIDTH))
    except AnnotationError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert len(annotation.instances) + len(annotation.lost) == len(rows_of(path))
