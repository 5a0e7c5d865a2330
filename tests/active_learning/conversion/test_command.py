"""`python -m active_learning.annotations convert`, as a user calls it."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.annotations import FORMATS, Annotation, Bitmap, Instance, Part, labelme
from active_learning.annotations.coco import CocoWriter
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.cvat_images import CvatImagesWriter
from active_learning.conversion.command import main
from active_learning.conversion.exports import TOOLS
from active_learning.conversion.report import Report
from active_learning.conversion.sources import find_sources, names_in_data_set

HEIGHT, WIDTH = 30, 40
FILES = {
    "labelme": ["a.json", "a.png", "sub/a.json", "sub/a.png", "sub/ä b.jpg", "sub/ä b.json"],
    "cvat": [
        "cvat_images_1.1.zip", "default/Masks/a_mask_1.png", "default/Masks/sub/a_mask_1.png",
        "default/Masks/sub/a_mask_3.png", "default/a.png", "default/a.xml", "default/sub/a.png", "default/sub/a.xml",
        "default/sub/ä b.jpg", "default/sub/ä b.xml",
    ],
    "darwin": [
        "annotations/a.json", "annotations/sub/a.json", "annotations/sub/ä b.json",
        "images/a.png", "images/sub/a.png", "images/sub/ä b.jpg",
    ],
    "supervisely": [
        "ds0/ann/a.png.json", "ds0/img/a.png", "meta.json", "sub/ann/a.png.json", "sub/ann/ä b.jpg.json",
        "sub/img/a.png", "sub/img/ä b.jpg",
    ],
}  # fmt: skip
LABELS = {"a.png": ("healthy",), "sub/a.png": ("ä b", "healthy"), "sub/ä b.jpg": ()}


def files(folder: Path) -> dict[str, str]:
    content = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path.relative_to(folder).as_posix(): hashlib.sha256(one).hexdigest() for path, one in content.items()}


def objects(folder: Path) -> dict[str, list[tuple[str, int]]]:
    """What a conversion would read from a folder: by the image's name in the data set, labels and areas."""
    messages: list[str] = []
    sources, _ = find_sources(folder, Report(messages.append))
    names = names_in_data_set(sources, folder)
    found = {}
    for source in sources:
        annotation = source.read(source.image)
        assert annotation.warnings == ()
        masks = [(one.label, instance_mask(one, annotation.height, annotation.width)) for one in annotation.instances]
        found[names[source.image]] = [(label, int(mask.sum())) for label, mask in masks]
    assert messages == []
    return found


@pytest.fixture
def folder(root, add_image, annotate):
    """Images with annotations of LabelMe beside them; one image has none."""
    for name, labels in LABELS.items():
        add_image(name)
        annotate(str(Path(name).with_suffix(".json")), name, *labels)
    add_image("bare.png")
    return root


@pytest.mark.parametrize("tool", FILES)
def test_a_folder_for_each_tool(folder, tmp_path, convert, tool):
    before = files(folder)
    outcome = convert(tool)
    assert (outcome.code, outcome.messages) == (0, "")
    assert outcome.summary.splitlines() == [
        "3 images converted, 1 of them without objects",
        "3 objects: healthy 2, ä b 1",
        "1 image without an annotation",
        "0 warnings, 0 errors",
    ]
    assert list(files(tmp_path / "out")) == FILES[tool]
    assert files(folder) == before
    if tool == "cvat":
        (tmp_path / "out" / "cvat_images_1.1.zip").unlink()
    read = {name.removeprefix("ds0/"): found for name, found in objects(tmp_path / "out").items()}
    assert read == {name: [(label, 88) for label in labels] for name, labels in LABELS.items()}


def test_coco_names_the_images_of_the_folder(folder, tmp_path, convert):
    assert convert("coco").code == 0
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [one["file_name"] for one in content["images"]] == ["a.png", "sub/a.png", "sub/ä b.jpg"]
    assert [(one["image_id"], one["category_id"], one["area"]) for one in content["annotations"]] == [
        (1, 1, 88), (2, 2, 88), (2, 1, 88),
    ]  # fmt: skip
    assert [(one["id"], one["name"], one["supercategory"]) for one in content["categories"]] == [
        (1, "healthy", "healthy"), (2, "ä b", "ä b"),
    ]  # fmt: skip
    assert content["info"] == {"description": "MaskAL"}


def test_coco_becomes_labelme(root, add_image, describe, tmp_path, convert):
    for name in ("images/a.png", "images/s/ä.jpg"):
        add_image(name)
    describe("annotations/train.json", "a.png", "s/ä.jpg")
    assert convert("labelme").code == 0
    assert list(files(tmp_path / "out")) == ["a.json", "a.png", "s/ä.jpg", "s/ä.json"]
    assert objects(tmp_path / "out") == {"a.png": [("healthy", 88)], "s/ä.jpg": [("healthy", 88)]}


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_overwritten(folder, tmp_path, convert, tool):
    assert convert(tool).code == 0
    before = files(tmp_path)
    outcome = convert(tool)
    assert outcome.code == 2
    assert "is there already; nothing was written" in outcome.messages
    assert files(tmp_path) == before


def test_one_file_in_the_way_stops_all(folder, tmp_path, convert):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "a.json").write_text("mine", encoding="utf-8")
    outcome = convert("labelme")
    assert outcome.code == 2
    assert str(tmp_path / "out" / "sub" / "a.json") in outcome.messages
    assert files(tmp_path / "out").keys() == {"sub/a.json"}


def test_into_the_same_folder_leaves_the_images(root, add_image, annotate, convert):
    add_image("a.png")
    annotate("a.xml", "a.png", "healthy", tool="cvat")
    before = files(root)
    assert convert("labelme", out=root.name).code == 0
    after = files(root)
    assert after.keys() - before.keys() == {"a.json"}
    assert before.items() <= after.items()


def test_a_faulty_file_is_skipped_and_named(folder, tmp_path, convert):
    (folder / "sub" / "a.json").write_text("{", encoding="utf-8")
    outcome = convert("labelme")
    assert outcome.code == 1
    assert outcome.messages.startswith(f"error: {folder / 'sub' / 'a.json'}: line 1")
    assert outcome.summary.splitlines()[-1] == "0 warnings, 1 error"
    assert list(files(tmp_path / "out")) == ["a.json", "a.png", "sub/ä b.jpg", "sub/ä b.json"]


def test_a_damaged_image_is_an_error(folder, convert):
    (folder / "a.png").write_bytes(b"x")
    outcome = convert("coco")
    assert outcome.code == 1
    assert "a.png: is no image" in outcome.messages


def test_a_faulty_object_is_a_warning(folder, convert):
    path = folder / "a.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["shapes"].append({"label": "healthy", "points": [[1, 1], [2, 2]], "shape_type": "line"})
    path.write_text(json.dumps(content), encoding="utf-8")
    outcome = convert("coco")
    assert outcome.code == 0
    assert outcome.messages.startswith(
        f"warning: {path}: shapes[2]: label 'healthy': shape_type 'line' encloses no area"
    )


def test_unknown_labels_are_left_out_with_one_warning(folder, annotate, tmp_path, convert):
    annotate("a.json", "a.png", "helthy", "healthy", "helthy")
    outcome = convert("coco")
    assert outcome.code == 0
    assert outcome.messages.splitlines() == [
        "warning: label 'helthy' is not in classes (did you mean 'healthy'?): 2 objects left out"
    ]
    assert len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["annotations"]) == 3


def test_unknown_labels_can_be_errors(folder, annotate, tmp_path, convert):
    annotate("a.json", "a.png", "helthy", "healthy")
    outcome = convert("labelme", "--unknown-labels", "error")
    assert outcome.code == 1
    assert "a.json: shapes[0]: label 'helthy' is not in classes (did you mean 'healthy'?)" in outcome.messages
    assert not (tmp_path / "out" / "a.png").exists()


def test_photographs_that_are_stored_sideways(root, add_image, annotate, tmp_path, convert):
    add_image("a.jpg", orientation=6)
    annotate("a.json", "a.jpg", "healthy")
    outcome = convert("coco")
    assert outcome.code == 0
    assert "EXIF" in outcome.messages
    (image,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["images"]
    assert (image["height"], image["width"]) == (WIDTH, HEIGHT)


def _write_for_size(path: Path, tool: str, height: int, width: int, *objects: Instance) -> None:
    annotation = Annotation("a.png", height, width, objects)
    if tool in ("coco", "cvat images"):
        writer = CocoWriter(["healthy"]) if tool == "coco" else CvatImagesWriter(["healthy"])
        writer.add(annotation)
        path.write_text(writer.text() if tool == "coco" else writer.text(path), encoding="utf-8")
    elif tool == "supervisely":  # MaskAL writes masks for it
        outline = {"exterior": SQUARE.tolist(), "interior": []}
        entry = {"classTitle": "healthy", "geometryType": "polygon", "points": outline}
        content = {"size": {"height": height, "width": width}, "objects": [entry for _ in objects]}
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        FORMATS[tool].codec.write(annotation, path)


FILE_NAMES = {
    "labelme": "a.json", "darwin": "a.json", "cvat": "a.xml", "supervisely": "a.png.json", "coco": "train.json",
    "cvat images": "train.xml",
}  # fmt: skip
SQUARE = np.array([[2.0, 3], [12, 3], [12, 13], [2, 13]])
OUTLINED = Instance("healthy", (Part(SQUARE),))
MASKED = Instance("healthy", (), Bitmap(0, 0, np.eye(HEIGHT, WIDTH, dtype=bool)))


@pytest.mark.parametrize("tool", FILE_NAMES)
@pytest.mark.parametrize(
    ("size", "reason"),
    [
        pytest.param((HEIGHT // 2, WIDTH // 2), "its outlines are of a copy of another size; export them", id="copy"),
        pytest.param((HEIGHT, WIDTH // 2), "its outlines are of another image, or of one that was", id="cropped"),
    ],
)
def test_outlines_for_another_size_are_an_error(root, add_image, convert, tmp_path, tool, size, reason):
    """The file that is written has the image's size: no later look would find the fault."""
    add_image("a.png")
    _write_for_size(root / FILE_NAMES[tool], tool, *size, OUTLINED)
    outcome = convert("labelme")
    assert outcome.code == 1
    assert outcome.messages.startswith(f"error: {root / FILE_NAMES[tool]}: ")
    assert f"{size[0]}" in outcome.messages and f"the image has height 30, width 40; {reason}" in outcome.messages
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tool", FILE_NAMES)
@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        pytest.param((HEIGHT, WIDTH + 1), (OUTLINED,), id="rounded"),
        pytest.param((WIDTH, HEIGHT), (OUTLINED,), id="turned"),
        pytest.param((HEIGHT * 2, WIDTH * 2), (), id="no object"),
    ],
)
def test_another_size_that_moves_no_outline_is_a_warning(root, add_image, convert, tmp_path, tool, size, drawn):
    add_image("a.png")
    _write_for_size(root / FILE_NAMES[tool], tool, *size, *drawn)
    outcome = convert("labelme", "--empty-images", "keep")
    assert outcome.code == 0
    assert "the image has height 30, width 40, which is used" in outcome.messages
    assert [len(found) for found in objects(tmp_path / "out").values()] == [len(drawn)]


def test_a_mask_of_the_image_is_of_it_whatever_size_the_file_gives(root, add_image, convert):
    add_image("a.png")
    _write_for_size(root / "train.json", "coco", HEIGHT, WIDTH, MASKED)
    content = json.loads((root / "train.json").read_text(encoding="utf-8"))
    content["images"][0] |= {"height": 15, "width": 20}
    (root / "train.json").write_text(json.dumps(content), encoding="utf-8")
    outcome = convert("labelme")
    assert (outcome.code, "which is used" in outcome.messages) == (0, True)


def test_the_polygon_error(root, add_image, tmp_path, convert):
    add_image("a.png")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    disc = Instance("healthy", (), Bitmap(0, 0, (rows - 15) ** 2 + (columns - 20) ** 2 < 144))
    labelme.write(Annotation("a.png", HEIGHT, WIDTH, (disc,)), root / "a.json", max_polygon_error=0)
    assert convert("supervisely").code == 0
    (root / "a.json").unlink()
    (root / "a.png").unlink()
    shutil.move(tmp_path / "out", root / "project")
    counts = []
    for error in ("0.3", "3"):
        assert convert("labelme", "--max-polygon-error", error, out=error).code == 0
        (path,) = (tmp_path / error).rglob("a.json")
        counts.append(len(json.loads(path.read_text(encoding="utf-8"))["shapes"][0]["points"]))
    assert counts[0] > 2 * counts[1]


def test_nothing_to_convert(root, add_image, convert):
    add_image("a.png")
    outcome = convert("coco")
    assert outcome.code == 1
    assert "holds no image with an annotation that is known here" in outcome.messages


@pytest.mark.parametrize(
    ("tool", "options", "reason"),
    [
        pytest.param("voc", (), "invalid choice: 'voc'", id="tool"),
        pytest.param("coco", ("--max-polygon-error", "-1"), "0 or more pixels", id="negative error"),
        pytest.param("coco", ("--max-polygon-error", "nan"), "0 or more pixels", id="no number"),
        pytest.param("coco", ("--unknown-labels", "keep"), "invalid choice: 'keep'", id="labels"),
        pytest.param("coco", ("--classes", "a", "b", "a"), "each name must be there once", id="classes"),
        pytest.param("coco", ("--classes", "a", "A"), "'a' and 'A' are one name in two forms", id="class in capitals"),
        pytest.param("coco", ("--classes", ""), "none may be empty", id="empty class"),
        pytest.param("coco", ("--classes", " a"), "must not start or end with a blank", id="class with a blank"),
        pytest.param("coco", ("--classes", "a\x01"), "nor hold a control character", id="control character"),
    ],
)
def test_wrong_use(folder, tmp_path, convert, tool, options, reason):
    outcome = convert(tool, *options)
    assert outcome.code == 2
    assert reason in outcome.messages
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("name", ["a\x07.png", "f\x1b/a.png", "\ufffe.png"])
def test_names_that_xml_cannot_hold_are_refused_before_anything_is_written(folder, add_image, annotate, tmp_path,
                                                                            convert, name):  # fmt: skip
    add_image(name)
    annotate(f"{name}.json", name, "healthy")
    outcome = convert("cvat")
    assert outcome.code == 2
    assert f"image names with characters that CVAT's xml files cannot hold: {name!r}; rename" in outcome.messages
    assert not (tmp_path / "out").exists()
    assert convert("labelme").code == 0


def test_an_image_whose_name_is_too_long_for_a_tool_costs_no_other(folder, add_image, describe, tmp_path, convert):
    long = f"{'x' * 250}.png"
    add_image(long)
    describe("coco.json", long)
    outcome = convert("supervisely")
    assert outcome.code == 1
    assert f"File name too long; shorten the name of {long}" in outcome.messages
    assert "3 images converted" in outcome.summary
    assert convert("labelme", out="other").code == 0
    assert (tmp_path / "other" / f"{'x' * 250}.json").exists()


@pytest.mark.parametrize(
    ("tool", "out", "reason"),
    [("coco", "in put", "is a folder; coco is one json file"), ("labelme", "in put/a.png", "is a file; labelme is")],
)
def test_an_output_of_another_kind(folder, convert, tool, out, reason):
    outcome = convert(tool, out=out)
    assert outcome.code == 2
    assert reason in outcome.messages


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("export.zip", "unpack it into a folder, and give that"), ("instances.json", "give the folder it is in")],
)
def test_a_file_where_a_folder_is_asked_for(tmp_path, capsys, name, remedy):
    path = tmp_path / name
    path.touch()
    with pytest.raises(SystemExit, match="2"):
        main(["convert", str(path), "--to", "coco", "--classes", "a", "--out", str(tmp_path / "out.json")])
    assert f"{path}: is a file; {remedy}" in capsys.readouterr().err


def test_a_folder_that_is_not_there(root, convert):
    root.rmdir()
    assert convert("coco").code == 2


@pytest.mark.parametrize(
    ("tool", "out"),
    [
        *itertools.product(["labelme", "cvat", "darwin", "supervisely", "yolo"], ["done", "b/done", "../link/done"]),
        *itertools.product(["cvat", "darwin", "supervisely", "yolo"], [".", "../link"]),
    ],
)
def test_a_folder_among_the_images_is_no_output(folder, tmp_path, convert, tool, out):
    """Its copies would count as further images."""
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    before = sorted(folder.rglob("*"))
    outcome = convert(tool, out=f"{folder.name}/{out}")
    assert outcome.code == 2
    assert "whose images would then be there twice; give a folder outside" in outcome.messages
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("tool", ["labelme", "cvat", "darwin", "supervisely", "yolo"])
def test_a_folder_around_the_export_is_no_output(folder, convert, tool):
    """The export would be in the image folder as well as its copies."""
    before = sorted(folder.rglob("*"))
    outcome = convert(tool, out=".")
    assert outcome.code == 2
    assert f"holds {folder}, whose images would then be there twice; move {folder} out of it first" in outcome.messages
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("tool", TOOLS)
def test_where_no_image_is_converted_nothing_is_in_the_way_of_the_next_attempt(
    folder, annotate, tmp_path, convert, tool
):
    for name in ("a.png", "sub/a.png", "sub/ä b.jpg"):
        annotate(f"{name[:-4]}.json", name, "helthy")
    outcome = convert(tool)
    assert (outcome.code, outcome.summary.splitlines()[0]) == (1, "0 images converted, 0 of them without objects")
    assert "train and val name the same images" not in outcome.messages
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.json").exists()


def test_a_coco_file_among_the_images_is_not_read_again(folder, convert):
    assert convert("coco", out=f"{folder.name}/done.json").code == 0
    assert convert("coco", out=f"{folder.name}/done.json").code == 2


def test_the_module_is_a_command(project_root, folder, tmp_path):
    command = [sys.executable, "-m", "active_learning.annotations", "convert", str(folder), "--to", "coco"]
    command += ["--classes", "healthy", "ä b", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=project_root, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"3 images converted")


def test_the_command_costs_no_torch_import(project_root):
    code = "import active_learning.conversion.command, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=project_root, check=False).returncode == 0


def test_images_are_copied_as_they_are(folder, tmp_path, convert):
    with Image.open(folder / "a.png") as image:
        assert image.size == (WIDTH, HEIGHT)
    convert("labelme")
    assert (tmp_path / "out" / "a.png").read_bytes() == (folder / "a.png").read_bytes()


def test_an_image_that_loses_all_its_objects_is_an_error_and_not_written(folder, annotate, tmp_path, convert):
    annotate("a.json", "a.png", "helthy", "helthy")
    outcome = convert("labelme")
    assert outcome.code == 1
    assert "label 'helthy' is not in classes (did you mean 'healthy'?)" in outcome.messages
    assert "no object is left of a.png: correct the file or the classes" in outcome.messages
    assert not list((tmp_path / "out").glob("a.*"))
    annotate("a.json", "a.png", "healthy")
    assert convert("labelme", out="again").code == 0


def test_objects_of_other_classes_may_be_left_out_of_all_images(folder, annotate, tmp_path, convert):
    annotate("a.json", "a.png", "tractor")
    outcome = convert("labelme", "--unknown-labels", "skip")
    assert (outcome.code, "1 object left out" in outcome.messages) == (0, True)
    assert json.loads((tmp_path / "out" / "a.json").read_text(encoding="utf-8"))["shapes"] == []


@pytest.fixture
def half_annotated(root, add_image, describe):
    """An export of CVAT, or as COCO, of which one image of three has objects."""

    def make(place: str) -> Path:
        for name in ("0.png", "1.png", "2.png"):
            add_image(name)
        path = describe(place, "0.png")
        text = path.read_text(encoding="utf-8")
        if place.endswith(".xml"):
            more = "".join(f'<image id="{n}" name="{n}.png" width="40" height="30"></image>' for n in (1, 2))
            path.write_text(text.replace("</annotations>", f"{more}</annotations>"), encoding="utf-8")
        else:
            content = json.loads(text)
            more = [{"id": n + 5, "file_name": f"{n}.png", "width": 40, "height": 30} for n in (1, 2)]
            path.write_text(json.dumps({**content, "images": content["images"] + more}), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("place", ["annotations.xml", "result.json"])
@pytest.mark.parametrize(
    ("options", "words", "images"),
    [
        pytest.param((), "warning: 2 images of the export without objects (1.png, 2.png): kept", 3, id="none"),
        pytest.param(("--empty-images", "keep"), "", 3, id="keep"),
        pytest.param(("--empty-images", "leave"), "2 images of the export without objects (1.png, 2.png): left out", 1,
                     id="leave"),
    ],
)  # fmt: skip
def test_images_nobody_has_opened_are_asked_about(half_annotated, tmp_path, convert, place, options, words, images):
    half_annotated(place)
    outcome = convert("labelme", *options)
    assert outcome.code == 0
    assert outcome.messages.startswith(words) if words else outcome.messages == ""
    assert len(list((tmp_path / "out").glob("*.json"))) == images


@pytest.mark.parametrize("tool", ["supervisely", "cvat", "darwin"])
def test_files_that_a_tool_writes_for_unopened_images_are_asked_about(root, add_image, annotate, convert, tool):
    for name, labels in {"a.png": ["healthy"], "b.png": []}.items():
        add_image(name)
        suffix = {"supervisely": ".png.json", "cvat": ".xml", "darwin": ".json"}[tool]
        annotate(f"{name[0]}{suffix}", name, *labels, tool=tool)
    assert "warning: 1 image of the export without objects (b.png)" in convert("labelme").messages


@pytest.mark.parametrize("options", [(), ("--empty-images", "leave"), ("--empty-images", "keep")])
def test_an_unopened_file_beside_its_image_costs_no_objects_of_an_export(
    root, add_image, annotate, describe, convert, tmp_path, options
):
    add_image("a.png")
    annotate("a.xml", "a.png", tool="cvat")
    describe("anna.json", "a.png")
    outcome = convert("labelme", *options)
    assert (outcome.code, outcome.messages) == (0, "")
    assert objects(tmp_path / "out") == {"a.png": [("healthy", 88)]}


@pytest.mark.parametrize(("tool", "kept"), [("supervisely", False), ("labelme", True), ("coco", True)])
def test_objects_too_small_for_a_format(root, add_image, tmp_path, convert, tool, kept):
    add_image("a.png")
    tiny = Part(np.array([[5.1, 5.1], [5.4, 5.1], [5.4, 5.4]]))
    labelme.write(Annotation("a.png", HEIGHT, WIDTH, (Instance("healthy", (tiny,)),)), root / "a.json")
    outcome = convert(tool)
    assert outcome.code == (0 if kept else 1)
    assert kept or "a.png: all its objects are too small for Supervisely" in outcome.messages
    assert kept or not list((tmp_path / "out").rglob("a.png*"))


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "free some space on that disk (mounted at"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
    ids=["full disk", "Ctrl-C"],
)
@pytest.mark.parametrize(
    ("place", "words"),
    [("train", "the same command goes on"), ("new", "convert again to another --out")],
    ids=["in place", "elsewhere"],
)
def test_a_conversion_that_breaks_off_names_the_way_on(
    tmp_path, monkeypatch, capsys, error, code, reason, place, words
):
    """Beside the images those that were written are found to be there; another folder has to be empty."""
    source = tmp_path / "train"
    source.mkdir()
    writer = CocoWriter(["healthy"])
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(source / name)
        writer.add(Annotation(name, HEIGHT, WIDTH))
    (source / "all.json").write_text(writer.text(), encoding="utf-8")
    out = tmp_path / place
    command = ["convert", str(source), "--to", "labelme", "--classes", "healthy", "--out", str(out)]
    fsync, written = os.fsync, []

    def full(file: int) -> None:
        if written:
            raise error
        written.append(fsync(file))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(command) == code
    assert reason in (text := capsys.readouterr().err)
    assert f"What was written before is whole; {words}" in text
    assert (main(command) == 0) == (place == "train")
