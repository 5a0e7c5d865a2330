from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from active_learning.annotations import read_annotation
from active_learning.dataset.initial_images import (
    choose_initial_images,
    copy_initial_train_dir,
    images_to_copy,
    sample_initial_images,
)
from active_learning.errors import MaskALError

IMAGES = [f"{index:03d}.png" for index in range(50)]


def test_the_sample_depends_on_the_seed_alone():
    sampled = sample_initial_images(IMAGES, 10, seed=3)
    assert sampled == sample_initial_images(IMAGES[::-1], 10, seed=3)
    assert sampled != sample_initial_images(IMAGES, 10, seed=4)
    assert sampled.names == sorted(set(sampled.names))
    assert (len(sampled.names), sampled.held_back, sampled.scenes) == (10, [], 50)


def test_of_near_duplicates_one_is_sampled_and_the_others_stay():
    plain = sample_initial_images(IMAGES, 10, seed=3).names
    group = [plain[2], plain[5], next(name for name in IMAGES if name not in plain)]
    sampled = sample_initial_images(IMAGES, 10, 3, [group])
    assert len(set(group) & set(sampled.names)) == 1
    assert len(set(sampled.names) & set(plain)) == 9
    assert (len(sampled.names), len(sampled.held_back), sampled.scenes) == (10, 1, 48)
    assert set(sampled.held_back) < set(group)


def test_too_few_scenes_are_filled_up():
    """A camera that stands still may see small objects that thumbnails do not show."""
    sampled = sample_initial_images(IMAGES, 10, 3, [IMAGES])
    assert sampled.names == sample_initial_images(IMAGES, 10, 3).names
    assert sampled.scenes == 1


def test_what_chooses_in_the_place_of_chance_is_given_one_image_of_each_scene():
    given = []

    def choose(images, size):
        given.append(list(images))
        return images[-size:][::-1]

    found = choose_initial_images(IMAGES, 3, choose, [IMAGES[:40], IMAGES[48:]])
    assert given == [[IMAGES[0], *IMAGES[40:49]]]
    assert (found.names, found.scenes, len(found.held_back)) == (IMAGES[46:49], 10, 40)
    assert choose_initial_images(IMAGES, 12, choose, [IMAGES[:40], IMAGES[48:]]).names == [*IMAGES[:3], *IMAGES[40:49]]


def test_more_than_there_are_is_refused():
    with pytest.raises(MaskALError, match="initial_datasize is 51, but traindir holds 50"):
        sample_initial_images(IMAGES, 51, seed=0)


def test_copying_the_initial_images_keeps_what_stands_there(tmp_path: Path):
    source, target = tmp_path / "initial", tmp_path / "train"
    for place in (source / "sub", target):
        place.mkdir(parents=True)
    for stem in ("a", "sub/b"):
        (source / f"{stem}.png").write_bytes(b"image")
        (source / f"{stem}.json").write_text(json.dumps({"shapes": [], "imagePath": f"{stem}.png"}), encoding="utf-8")
    (source / "not annotated.png").write_bytes(b"image")
    (target / "a.json").write_text("a person's own", encoding="utf-8")
    assert copy_initial_train_dir(source, target, print) == ["a.png", "sub/b.png"]
    assert (target / "a.json").read_text(encoding="utf-8") == "a person's own"
    assert (target / "sub" / "b.json").read_bytes() == (source / "sub" / "b.json").read_bytes()
    assert not (target / "not annotated.png").exists()
    assert not list(target.rglob("*.maskal-draft"))


def test_another_image_of_the_same_name_does_not_get_the_annotation(train, add_image, annotate, tmp_path):
    add_image("a.png")
    annotate("a.json")
    target = tmp_path / "target"
    target.mkdir()
    (target / "a.png").write_bytes(b"another image")
    with pytest.raises(MaskALError, match=r"target.a\.png: is another image than .*train.a\.png; rename one of them"):
        copy_initial_train_dir(train, target, print)
    assert [path.name for path in target.iterdir()] == ["a.png"]


def test_annotations_that_are_kept_in_the_place_of_others_are_named(train, add_image, annotate, tmp_path):
    for name in ("a.png", "b.png"):
        add_image(name)
        annotate(name.replace("png", "json"), image=name)
    target = tmp_path / "target"
    shutil.copytree(train, target)
    reported: list[str] = []
    copy_initial_train_dir(train, target, reported.append)
    assert reported == []
    (target / "b.json").write_text("a person's own", encoding="utf-8")
    assert copy_initial_train_dir(train, target, reported.append) == ["a.png", "b.png"]
    assert reported == [f"{target / 'b.json'}: is kept and used; {train / 'b.json'} differs"]


ITEM = "item_000000000.xml"


@pytest.mark.parametrize(
    ("file", "image", "other", "reason"),
    [
        pytest.param("a.json", "a.png", "a.jpg", "is not of a.png, as .*a.json is; rename one of them", id="a stem"),
        pytest.param(ITEM, "b.png", "c.png", "is not of b.png, as .*item_0+.xml is; rename one of them", id="a number"),
        pytest.param(ITEM, "b.png", "gone.png", "is not of b.png", id="a number, of an image that is gone"),
        pytest.param("a.json", "a.png", "", "may be of a.jpg or a.png, and names ''; name it after its", id="doubtful"),
    ],
)
def test_the_annotation_of_another_image_does_not_take_the_place(
    train, tmp_path, add_image, annotate, annotate_in_cvat, file, image, other, reason
):
    def fill(named: str, held: str) -> None:
        add_image(held)
        if file.endswith(".xml"):
            annotate_in_cvat(file, named)
        else:
            annotate(file, image=named)

    target = tmp_path / "target"
    fill(other, "a.jpg" if file == "a.json" else "c.png")
    train.rename(target)
    fill(image, image)
    held = sorted(target.rglob("*"))
    with pytest.raises(MaskALError, match=reason):
        images_to_copy(train, target)
    with pytest.raises(MaskALError, match=reason):
        copy_initial_train_dir(train, target, print)
    assert sorted(target.rglob("*")) == held


def test_an_annotation_under_another_name_is_kept_and_used(train, tmp_path, add_image, annotate, annotate_in_cvat):
    add_image("a.png")
    target = tmp_path / "target"
    annotate_in_cvat("a.xml", "a.png")
    shutil.move(train, target)
    add_image("a.png")
    annotate("a.json", image="a.png")
    reported: list[str] = []
    assert copy_initial_train_dir(train, target, reported.append) == ["a.png"]
    assert reported == [f"{target / 'a.xml'}: is kept and used; {train / 'a.json'} differs"]
    assert not (target / "a.json").exists()


def test_another_mask_of_the_same_name_does_not_get_into_the_annotation(train, tmp_path, annotate_in_cvat):
    (train / "a.png").write_bytes(b"image")
    annotate_in_cvat("a.xml", "a.png")
    target = tmp_path / "target"
    copy_initial_train_dir(train, target, print)
    (mask,) = (target / "Masks").iterdir()
    mask.write_bytes(b"of another image")
    assert copy_initial_train_dir(train, target, print) == ["a.png"], "the annotation there is used"
    (target / "a.xml").unlink()
    with pytest.raises(MaskALError, match="is another mask than .*; rename one of them"):
        copy_initial_train_dir(train, target, print)
    assert not (target / "a.xml").exists()


def test_masks_of_cvat_are_copied_with_their_annotation(train, tmp_path, annotate_in_cvat):
    (train / "sub").mkdir()
    (train / "sub" / "a.png").write_bytes(b"image")
    annotate_in_cvat("sub/a.xml", "sub/a.png")
    target = tmp_path / "target"
    assert copy_initial_train_dir(train, target, print) == ["sub/a.png"]
    annotation = read_annotation(target / "sub" / "a.xml", image="sub/a.png", size=(30, 40), within=target)
    assert (annotation.warnings, len(annotation.instances)) == ((), 1)


def test_nothing_annotated_is_reported(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"image")
    with pytest.raises(MaskALError, match="holds no annotated image"):
        copy_initial_train_dir(tmp_path, tmp_path / "train", print)
