"""Finding images and pairing them with annotation files."""

from __future__ import annotations

import unicodedata

import pytest
from PIL import Image

from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import (
    find_images,
    foreign_files,
    pair_annotations,
    take_snapshot,
)
from active_learning.dataset.image_names import IMAGE_SUFFIXES, check_image_name
from active_learning.errors import MaskALError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_find_images(train):
    touch(
        train, "b.JPG", "a b.png", "sub/deep/ä.tif", "sub/annotate/c.jpg", "annotate/d.jpg", "annotate/sub/e.jpg",
        "a.json", "notes.txt", "._b.jpg", ".trash/f.jpg", "jpg",
    )  # fmt: skip
    assert find_images(train) == ["a b.png", "b.JPG", "sub/annotate/c.jpg", "sub/deep/ä.tif"]


def test_every_suffix(train):
    touch(train, *(f"a{suffix}" for suffix in IMAGE_SUFFIXES), *(f"b{suffix.upper()}" for suffix in IMAGE_SUFFIXES))
    assert len(find_images(train)) == 2 * 15


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MaskALError, match="no such folder"):
        find_images(tmp_path / "none")


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "sub/../../a.jpg", "C:/a.jpg", "", "a\x00.jpg", "//host/a.jpg"])
def test_names_that_lead_out_of_the_folder(name, train):
    with pytest.raises(MaskALError, match="leads out of the image folder"):
        check_image_name(name)
    with pytest.raises(MaskALError, match="leads out of the image folder"):
        pair_annotations(train, [name])


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        pytest.param(["a.jpg", "a.json"], {"a.jpg": "a.json"}, id="stem"),
        pytest.param(["a.jpg", "a.jpg.json"], {"a.jpg": "a.jpg.json"}, id="image name"),
        pytest.param(["a.jpg", "a.json", "a.jpg.json"], {"a.jpg": "a.jpg.json"}, id="image name before stem"),
        pytest.param(["a.JPG", "a.JSON"], {"a.JPG": "a.JSON"}, id="capital suffix"),
        pytest.param(["a.jpg", "a.xml"], {"a.jpg": "a.xml"}, id="xml"),
        pytest.param(["a.jpg", "a.xml", "a.json"], {"a.jpg": "a.json"}, id="json before xml"),
        pytest.param(["a.jpg", "A.json"], {}, id="another name"),
        pytest.param(["a.jpg", "b.json", "a.txt", "a.json.tmp", "a.json.orig"], {}, id="none"),
        pytest.param(["s/a b.jpg", "s/a b.json", "a b.json"], {"s/a b.jpg": "s/a b.json"}, id="sub-folder"),
        pytest.param(["a.1.jpg", "a.1.json", "a.json"], {"a.1.jpg": "a.1.json"}, id="dots"),
        pytest.param(["a.jpg", "a.png", "a.jpg.json"], {"a.jpg": "a.jpg.json"}, id="shared stem, own name"),
        pytest.param(["a.jpg", "a.jpg.png", "a.jpg.json"], {"a.jpg": "a.jpg.json"}, id="stem like a name"),
    ],
)
def test_pair_annotations(train, files, pairs):
    touch(train, *files)
    found = pair_annotations(train, find_images(train))
    assert {name: path.relative_to(train).as_posix() for name, path in found.items()} == pairs


def test_accents_compare_however_they_are_stored(train):
    composed, decomposed = unicodedata.normalize("NFC", "ä"), unicodedata.normalize("NFD", "ä")
    touch(train, f"{composed}.jpg", f"{decomposed}.json")
    assert list(pair_annotations(train, [f"{composed}.jpg"])) == [f"{composed}.jpg"]


@pytest.mark.parametrize(
    ("named", "owner"),
    [
        pytest.param("a.png", "a.png", id="one"),
        pytest.param("a.jpg", "a.jpg", id="other"),
        pytest.param("C:\\images\\A.JPG", "a.jpg", id="path on Windows"),
        pytest.param("../x/a.png", "a.png", id="path elsewhere"),
    ],
)
def test_a_shared_stem_is_decided_inside_the_file(train, annotate, named, owner):
    touch(train, "a.jpg", "a.png")
    path = annotate("a.json", image=named)
    assert pair_annotations(train, find_images(train)) == {owner: path}
    other = "a.png" if owner == "a.jpg" else "a.jpg"
    assert pair_annotations(train, [other]) == {}


def test_what_is_left_of_a_shared_stem(train, annotate):
    touch(train, "a.jpg", "a.png", "a.jpg.json")
    path = annotate("a.json")
    assert pair_annotations(train, ["a.png"]) == {"a.png": path}


@pytest.mark.parametrize("own", ["a.tif.png.json", "a.tif.json", "a.json"])
def test_an_image_that_its_tool_has_as_png(train, annotate, own):
    touch(train, "a.tif")
    assert pair_annotations(train, find_images(train)) == {} and annotate(own, image="a.tif.png")
    assert pair_annotations(train, find_images(train)) == {"a.tif": train / own}


@pytest.mark.parametrize("named", ["b.png.png", "B.PNG.png", "x.png", ""])
def test_a_name_that_is_the_stem_of_another(train, annotate, named):
    """As where a.png is also there as a.png.png: LabelMe's file of that is a.png.json."""
    touch(train, "b.png", "b.png.png")
    other = annotate("b.png.json", image=named)
    own = annotate("b.json", image="b.png")
    pairs = {"b.png": own, "b.png.png": other} if named.lower() == "b.png.png" else {"b.png": other}
    assert pair_annotations(train, find_images(train)) == pairs


def test_a_shared_stem_that_cannot_be_decided(train, annotate):
    touch(train, "a.jpg", "a.png", "b.jpg")
    annotate("a.json", image="c.jpg")
    with pytest.raises(MaskALError, match=r"a\.json: may be of a\.\w+ or a\.\w+, and names 'c\.jpg'"):
        pair_annotations(train, find_images(train))
    assert pair_annotations(train, ["b.jpg"]) == {}


def test_a_damaged_file_of_a_shared_stem(train):
    touch(train, "a.jpg", "a.png", "a.json")
    with pytest.raises(MaskALError, match=r"a\.json: is empty"):
        pair_annotations(train, ["a.jpg"])


def test_folders_that_are_not_there_hold_no_annotations(train):
    assert pair_annotations(train, ["none/a.jpg"]) == {}


def test_masks_of_cvat_are_no_images(train):
    touch(train, "a.jpg", "Masks/a_mask_0.png", "s/Masks/t/b_mask_1.PNG", "Masks/photo.jpg", "masks/c.png")
    assert find_images(train) == ["Masks/photo.jpg", "a.jpg", "masks/c.png"]


@pytest.mark.parametrize(
    ("images", "named", "owner"),
    [
        pytest.param(["a.jpg", "b.jpg"], "b.jpg", "b.jpg", id="named inside"),
        pytest.param(["a.jpg", "b.png"], "b.jpg", "b.png", id="named inside, another suffix"),
        pytest.param(["item_000000001.jpg", "b.jpg"], "b.jpg", "b.jpg", id="not the one of its number"),
        pytest.param(["item_000000001.jpg", "b.jpg"], "gone.jpg", "item_000000001.jpg", id="the one of its number"),
        pytest.param(["a.jpg", "b.jpg"], "gone.jpg", None, id="of none"),
    ],
)
def test_numbers_in_names_of_cvat_mean_nothing(train, annotate_in_cvat, images, named, owner):
    touch(train, *images)
    path = annotate_in_cvat("item_000000001.xml", named)
    assert pair_annotations(train, find_images(train)) == ({owner: path} if owner else {})


def test_a_damaged_file_of_a_number_is_of_none(train):
    touch(train, "a.jpg", "item_000000001.xml")
    assert pair_annotations(train, find_images(train)) == {}


def test_an_xml_file_may_be_named_after_the_whole_image(train, annotate_in_cvat):
    touch(train, "a.jpg", "a.png")
    files = {name: annotate_in_cvat(f"{name}.xml", name) for name in ("a.jpg", "a.png")}
    assert pair_annotations(train, find_images(train)) == files


TAKEOUT = '{"title": "a.png", "description": "", "photoTakenTime": {"timestamp": "1"}}'
SIDECARS = {
    "photo export": ("a.png.json", TAKEOUT),
    "exiftool": ("a.png.json", '[{"SourceFile": "a.png"}]'),
    "a camera's xml": ("a.png.xml", "<NonRealTimeMeta/>"),
}


@pytest.mark.parametrize(("name", "text"), SIDECARS.values(), ids=SIDECARS)
def test_a_file_of_another_program_hides_no_annotation(train, annotate_in_cvat, name, text):
    touch(train, "a.png")
    (train / name).write_text(text, encoding="utf-8")
    assert pair_annotations(train, ["a.png"]) == {}
    assert foreign_files(take_snapshot(train)) == [train / name]
    path = annotate_in_cvat("a.xml", "a.png")
    assert pair_annotations(train, ["a.png"], AnnotationCache(train, ["healthy"])) == {"a.png": path}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.json", TAKEOUT, id="of the stem"),
        pytest.param("a.json", '{"images": [], "annotations": []}', id="COCO"),
        pytest.param("a.png.json", '{"_via_settings": {}}', id="VGG Image Annotator"),
        pytest.param("a.png.json", "{}", id="nothing in it"),
    ],
)
def test_an_annotation_comes_before_what_is_none(train, annotate_in_cvat, name, text):
    touch(train, "a.png")
    (train / name).write_text(text, encoding="utf-8")
    path = annotate_in_cvat("a.xml", "a.png")
    assert pair_annotations(train, ["a.png"]) == {"a.png": path}


@pytest.mark.parametrize("text", ['{"images": [], "annotations": []}', "{}", "{", '{"annotations": [], "data": {}}'])
def test_an_annotation_that_cannot_be_read_is_not_passed_over(train, text):
    touch(train, "a.png")
    (train / "a.json").write_text(text, encoding="utf-8")
    assert pair_annotations(train, ["a.png"]) == {"a.png": train / "a.json"}
    assert foreign_files(take_snapshot(train)) == []


@pytest.mark.parametrize(
    ("files", "images", "named"),
    [
        pytest.param(["Masks/a_mask_0.png", "a.xml"], [], False, id="of an annotation of CVAT"),
        pytest.param(["s/Masks/t/a_mask_0.png", "s/u/a.xml"], [], False, id="in sub-folders"),
        pytest.param(["s/Masks/a_mask_0.png", "a.xml"], [], True, id="the annotation lies elsewhere"),
        pytest.param(["Masks/a_mask_0.png"], [], True, id="there is no annotation"),
        pytest.param(["Masks/a_mask_0.png", "Masks/a_mask_0.json"], ["Masks/a_mask_0.png"], False, id="annotated"),
        pytest.param(
            ["Masks/a_mask_0.png", "Masks/a_mask_0.png.json"], ["Masks/a_mask_0.png"], False, id="Supervisely"
        ),
        pytest.param(["Masks/a_mask_0.jpg"], ["Masks/a_mask_0.jpg"], False, id="no PNG"),
        pytest.param(["SegmentationClass/a.png", "x/SegmentationObject/s/a.png"], [], True, id="of Pascal VOC"),
        pytest.param(["SegmentationClassVisualization/a.jpg"], [], True, id="of LabelMe, drawn on the image"),
        pytest.param(["s/masks_machine/a.jpg.png", "s/masks_human/a.png"], [], True, id="exported by Supervisely"),
        pytest.param(["a_json/img.png", "a_json/label.png", "a_json/label_names.txt"], [], True, id="of LabelMe"),
        pytest.param(
            ["SegmentationClass/a.png", "SegmentationClass/a.json"],
            ["SegmentationClass/a.png"],
            False,
            id="annotated in such a folder",
        ),
        pytest.param(["a_mask.png"], [], True, id="of Roboflow"),
        pytest.param(["s/b.tif", "s/b_masks.PNG"], ["s/b.tif"], True, id="masks beside an image"),
        pytest.param(["b_rgb.png", "b_label.png", "b_fg.png", "b_centers.png"], ["b_rgb.png"], True, id="of CVPPP"),
        pytest.param(["masks/a.png", "masks/s/a_mask.png"], [], True, id="of that name in a folder masks"),
        pytest.param(["s/masks/a.png", "s/x/a.jpg"], ["s/x/a.jpg"], True, id="the image is in a folder beside it"),
        pytest.param(["t/task-1-annotation-12-by-1-tag-leaf-0.png"], [], True, id="of Label Studio"),
        pytest.param(["a_mask.png", "a_mask.json"], ["a_mask.png"], False, id="annotated beside its image"),
        pytest.param(["a_mask.png", "item_000000001.xml"], ["a_mask.png"], False, id="perhaps annotated, by number"),
        pytest.param(["a_mask.png", "a_mask.txt"], ["a_mask.png"], False, id="with a label file of YOLO"),
        pytest.param(
            ["images/b.jpg", "images/b_mask.png", "labels/b_mask.txt"],
            ["images/b.jpg", "images/b_mask.png"],
            False,
            id="with a label file in labels",
        ),
        pytest.param(["u\u0308.jpg", "\u00fc_mask.png"], ["u\u0308.jpg"], True, id="accents in two ways"),
        pytest.param(["masks/a.png", "masks/c.png"], ["masks/a.png", "masks/c.png"], False, id="numbers that collide"),
        pytest.param(["s/a_mask.png"], ["s/a_mask.png"], False, id="its image is in another folder"),
        pytest.param(["a_mask.jpg", "masks/a.jpg"], ["a_mask.jpg", "masks/a.jpg"], False, id="photographs"),
        pytest.param(["b_label.png", "b.png"], ["b_label.png", "b.png"], False, id="of a label on a pot"),
        pytest.param(["Segmentation/a.png", "masks/b.png"], ["Segmentation/a.png", "masks/b.png"], False, id="others"),
        pytest.param(
            ["a_json/img.png", "a_json/label.png"],
            ["a_json/img.png", "a_json/label.png"],
            False,
            id="no export of LabelMe",
        ),
    ],
)
def test_an_image_that_may_be_taken_for_a_mask_is_used_or_named(train, files, images, named):
    touch(train, "a.jpg", *files)
    snapshot = take_snapshot(train)
    assert sorted(snapshot.images) == sorted([*images, "a.jpg"])
    remedy = "passed over: taken for masks by their names; if they are images, rename them or their folder"
    assert any(remedy in note for note in snapshot.notes) == named


GREYS, PALETTE, COLOURS, CLEAR = "L", "P", "RGB", "LA"


@pytest.mark.parametrize(
    ("files", "mode", "images"),
    [
        pytest.param(["images/b.jpg", "labels/b.png"], GREYS, ["images/b.jpg"], id="labels"),
        pytest.param(["labels/a.png"], PALETTE, [], id="with a palette"),
        pytest.param(["labels/a.png"], "I;16", [], id="of 16 bits"),
        pytest.param(["labels/a.png"], "1", [], id="of one bit"),
        *(pytest.param([f"{name}/a.png"], GREYS, [], id=name) for name in ("mask", "label", "gt", "ground_truth")),
        *(pytest.param([f"{name}/a.png"], GREYS, [], id=name) for name in ("annotations", "seg", "Segmentation")),
        pytest.param(["images/t/b.jpg", "labels/t/b.png"], GREYS, ["images/t/b.jpg"], id="in sub-folders"),
        pytest.param(["labels/a_mask.png"], GREYS, [], id="called after the image, in such a folder"),
        pytest.param(["labels/a.png"], COLOURS, ["labels/a.png"], id="photographs of labels"),
        pytest.param(["labels/a.png"], CLEAR, ["labels/a.png"], id="with a channel of transparency"),
        pytest.param(["labels/a.png", "labels/c.png"], GREYS, ["labels/a.png", "labels/c.png"], id="one of no image"),
        pytest.param(["labels/a.png", "labels/a.json"], GREYS, ["labels/a.png"], id="annotated"),
        pytest.param(["labels/a.png", "labels/a.txt"], GREYS, ["labels/a.png"], id="with a label file of YOLO"),
        pytest.param(["labels/item_000000001.xml", "labels/a.png"], GREYS, ["labels/a.png"], id="by number"),
        pytest.param(["labels/c.png", "gt/c.png"], GREYS, ["gt/c.png", "labels/c.png"], id="no image elsewhere"),
        pytest.param(["labels_of_plants/a.png"], GREYS, ["labels_of_plants/a.png"], id="another folder"),
        pytest.param(["annotations/images/c.png"], GREYS, ["annotations/images/c.png"], id="all are there"),
        pytest.param(["labels/a.jpg"], GREYS, ["labels/a.jpg"], id="no PNG"),
        pytest.param(["a_watershed_mask.png", "a_color_mask.png"], COLOURS, [], id="PixelAnnotationTool"),
        pytest.param(["a_cp_masks.png"], "I;16", [], id="Cellpose"),
        pytest.param(["s/b_1.jpg", "s/b_1_cp_masks.png"], GREYS, ["s/b_1.jpg"], id="numbered"),
        pytest.param(["ab_cp_masks.png"], GREYS, ["ab_cp_masks.png"], id="of another stem"),
        pytest.param(["a_cp_masks.png", "a_cp_masks.json"], GREYS, ["a_cp_masks.png"], id="annotated, of a tool"),
        pytest.param(["a_mask_on.png"], GREYS, ["a_mask_on.png"], id="the word in the middle"),
    ],
)
def test_masks_in_folders_of_people_and_with_words_of_tools(train, files, mode, images):
    for name in ["a.jpg", *files]:
        touch(train, name)
        if name.endswith(".png"):
            Image.new(mode, (4, 3)).save(train / name)
    snapshot = take_snapshot(train)
    assert sorted(snapshot.images) == sorted([*images, "a.jpg"])
    is_passed_over = any(name.endswith(".png") and name not in images for name in files)
    assert any("passed over: taken for masks by their names" in note for note in snapshot.notes) == is_passed_over


def test_of_a_folder_of_people_one_photograph_makes_images(train):
    for name, mode in (("a.png", COLOURS), ("b.png", COLOURS), ("labels/a.png", GREYS), ("labels/b.png", COLOURS)):
        touch(train, name)
        Image.new(mode, (4, 3)).save(train / name)
    touch(train, "seg/a.png")  # empty
    assert find_images(train) == ["a.png", "b.png", "labels/a.png", "labels/b.png", "seg/a.png"]


@pytest.mark.parametrize(
    ("xml", "names"),
    [
        pytest.param("", ["Masks/a.png", "Masks/b.PNG", "Masks/s/c.png"], id="no annotation of CVAT"),
        pytest.param("<mask>b.PNG</mask>", ["Masks/a.png", "Masks/s/c.png"], id="one is a mask"),
        pytest.param("<mask> s\\c.png </mask>", ["Masks/a.png", "Masks/b.PNG"], id="one below is a mask"),
        pytest.param("<name>a.png</name>", ["Masks/a.png", "Masks/b.PNG", "Masks/s/c.png"], id="no mask is named"),
    ],
)
def test_a_person_may_name_a_folder_of_images_masks(train, xml, names):
    touch(train, *(f"x/{name}" for name in ("Masks/a.png", "Masks/b.PNG", "Masks/s/c.png", "Masks/d_mask_12.png")))
    (train / "x/y").mkdir()
    (train / "x/y/d.xml").write_text(xml, encoding="utf-8")
    assert find_images(train) == [f"x/{name}" for name in names]
