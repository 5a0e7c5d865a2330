"""Drawing: what is drawn, where, and that nothing falls over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.utils.visualizer import ColorMode, GenericMask, VisImage, Visualizer

HEIGHT, WIDTH = 80, 100
METADATA = SimpleNamespace(thing_classes=["healthy", "cat$eye_"], thing_colors=[(255, 0, 0), (0, 0, 255)])
SQUARE = [20.0, 20, 60, 20, 60, 60, 20, 60]


def canvas() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)


def changed(picture: VisImage) -> np.ndarray:
    return (picture.get_image() != 128).any(axis=2)


def ring() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[10:70, 20:80] = True
    mask[30:50, 40:60] = False
    return mask


def predictions(count: int, **fields) -> Instances:
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([[20.0, 10, 80, 70]]).repeat(count, 1)),
        scores=torch.full((count,), 0.9),
        pred_classes=torch.arange(count) % 2,
        pred_masks=torch.from_numpy(ring()).repeat(count, 1, 1),
        **fields,
    )


def test_nothing_drawn_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert np.array_equal(Visualizer(image).get_output().get_image(), image)


def test_without_metadata_there_is_an_empty_one() -> None:
    visualizer = Visualizer(canvas())
    assert visualizer.metadata.get("thing_classes") is None
    assert Visualizer(canvas(), METADATA).metadata is METADATA


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.37, 2.0])
def test_scale_is_that_of_the_picture(scale: float) -> None:
    picture = Visualizer(canvas(), scale=scale).draw_box((10, 10, 50, 60))
    assert picture.get_image().shape == (int(HEIGHT * scale + 0.01), int(WIDTH * scale + 0.01), 3)


def test_holes_stay_open() -> None:
    picture = Visualizer(canvas()).draw_binary_mask(ring(), color="red")
    drawn = changed(picture)
    assert drawn[12:28, 22:78].all()
    assert not drawn[33:47, 43:57].any()
    assert not drawn[:7].any()


def test_united_polygons_do_not_cancel_out() -> None:
    backwards = np.asarray(SQUARE).reshape(-1, 2)[::-1].ravel() + 10
    drawn = changed(Visualizer(canvas()).overlay_instances(masks=[[SQUARE, backwards.tolist()]]))
    assert drawn[32:58, 32:58].all()


@pytest.mark.parametrize("mode", ColorMode)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_predictions_in_every_mode(mode: ColorMode, count: int) -> None:
    drawn = changed(Visualizer(canvas(), METADATA, instance_mode=mode).draw_instance_predictions(predictions(count)))
    assert drawn.any() == (count > 0)


def test_colours_of_the_class() -> None:
    two = predictions(2)
    two.pred_masks[1] = False
    visualizer = Visualizer(canvas(), METADATA, instance_mode=ColorMode.SEGMENTATION)
    red, green, blue = visualizer.draw_instance_predictions(two[:1]).get_image()[60, 50].tolist()
    assert red > 160 > max(green, blue)


def test_grey_outside_the_masks() -> None:
    image = canvas()
    image[..., 0] = 200
    picture = Visualizer(image, instance_mode=ColorMode.IMAGE_BW).draw_instance_predictions(predictions(1)).get_image()
    assert len(set(picture[5, 5].tolist())) == 1
    assert len(set(picture[60, 50].tolist())) > 1


def test_instances_get_different_colours() -> None:
    boxes = [[5, 5, 30, 30], [40, 40, 70, 70]]
    masks = PolygonMasks([[np.array(SQUARE) / 4], [np.array(SQUARE) / 4 + 40]])
    picture = Visualizer(canvas()).overlay_instances(boxes=boxes, masks=masks).get_image()
    assert picture[10, 10].tolist() != picture[50, 50].tolist()


def test_same_input_gives_the_same_picture() -> None:
    pictures = [
        Visualizer(canvas(), METADATA, instance_mode=ColorMode.SEGMENTATION).draw_instance_predictions(predictions(3))
        for _ in range(2)
    ]
    assert np.array_equal(pictures[0].get_image(), pictures[1].get_image())


@pytest.mark.parametrize("missing", ["pred_boxes", "scores", "pred_classes", "pred_masks"])
def test_predictions_without_a_field(missing: str) -> None:
    few = predictions(2)
    few.remove(missing)
    assert changed(Visualizer(canvas(), METADATA).draw_instance_predictions(few)).any()


def test_dataset_dictionary() -> None:
    runs = coco_mask.encode(np.asfortranarray(ring().astype(np.uint8)))
    box = {"bbox": [20, 20, 40, 40], "bbox_mode": BoxMode.XYWH_ABS}
    annotations = [
        {**box, "category_id": 0, "segmentation": [SQUARE]},
        {**box, "category_id": 1, "segmentation": runs, "iscrowd": 1},
        {**box, "category_id": 1},
    ]
    drawn = changed(Visualizer(canvas(), METADATA).draw_dataset_dict({"annotations": annotations}))
    assert drawn[40, 30] and drawn[65, 70]


@pytest.mark.parametrize("dic", [{}, {"annotations": []}], ids=["no key", "no annotations"])
def test_dataset_dictionary_without_objects(dic: dict) -> None:
    assert not changed(Visualizer(canvas(), METADATA).draw_dataset_dict(dic)).any()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"boxes": Boxes([]), "labels": [], "masks": []},
        {"labels": ["a"], "masks": [np.zeros((HEIGHT, WIDTH))]},
        {"boxes": [[5, 5, 5, 5]], "labels": [""]},
        {"boxes": [[-50, -50, 500, 500]], "labels": ["outside"]},
        {"labels": ["nowhere"], "masks": [None]},
        {"masks": BitMasks(np.zeros((1, HEIGHT, WIDTH)))},
    ],
    ids=["nothing", "none", "empty mask", "no area", "outside", "no place", "bitmasks"],
)
def test_empties_do_not_fall_over(arguments: dict) -> None:
    picture = Visualizer(canvas()).overlay_instances(**arguments)
    assert picture.get_image().shape == (HEIGHT, WIDTH, 3)


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="'boxes': 1, 'labels': 2"):
        Visualizer(canvas()).overlay_instances(boxes=[[0, 0, 5, 5]], labels=["a", "b"])


def test_keypoints_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="keypoints"):
        Visualizer(canvas()).overlay_instances(keypoints=np.zeros((1, 3, 3)))
    with pytest.raises(NotImplementedError, match="pred_keypoints"):
        Visualizer(canvas()).draw_instance_predictions(predictions(1, pred_keypoints=torch.zeros(1, 3, 3)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda v: v.draw_text("a_b$c", (50, 30)),
        lambda v: v.draw_circle((50, 40), "b", radius=5),
        lambda v: v.draw_line([10, 90], [40, 40], "r"),
        lambda v: v.draw_polygon(np.array(SQUARE).reshape(-1, 2), "g"),
        lambda v: v.draw_soft_mask(ring().astype(np.float32), "r", text="soft"),
        lambda v: v.draw_binary_mask(ring(), text="hard"),
        lambda v: v.overlay_instances(masks=[GenericMask(ring(), HEIGHT, WIDTH)], labels=["x"]),
    ],
    ids=["text", "circle", "line", "polygon", "soft mask", "binary mask", "overlay"],
)
def test_primitives_leave_a_mark(draw) -> None:
    visualizer = Visualizer(canvas())
    picture = draw(visualizer)
    assert picture is visualizer.get_output()
    assert changed(picture).any()


def test_small_parts_are_left_out() -> None:
    speck = np.zeros((HEIGHT, WIDTH), dtype=bool)
    speck[40:42, 40:44] = True
    assert not changed(Visualizer(canvas()).draw_binary_mask(speck)).any()
    assert changed(Visualizer(canvas()).draw_binary_mask(speck, area_threshold=0)).any()


@pytest.mark.parametrize("name", ["picture.png", "picture.JPG", "picture"])
def test_save(tmp_path: Path, name: str) -> None:
    picture = Visualizer(canvas()).draw_box((10, 10, 50, 60))
    picture.save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.size == (WIDTH, HEIGHT)
    assert [path.name for path in tmp_path.iterdir()] == [name]
