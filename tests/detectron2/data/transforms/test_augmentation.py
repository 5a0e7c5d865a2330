from __future__ import annotations

import numpy as np
import pytest

from detectron2.data import transforms as T

_IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)


class _FlipByBoxes(T.Augmentation):
    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        return T.HFlipTransform(image.shape[1]) if len(boxes) else T.NoOpTransform()


class _Legacy(T.TransformGen):
    def __init__(self, width: int = 4, unused: int = 1) -> None:
        self._init(locals())

    def get_transform(self, img: np.ndarray) -> T.Transform:
        return T.HFlipTransform(self.width)


class _Variadic(T.Augmentation):
    def get_transform(self, *args: object) -> T.Transform:
        return T.NoOpTransform()


class _NoTransform(T.Augmentation):
    def get_transform(self, image: np.ndarray) -> np.ndarray:
        return image


def test_everything_is_transformed_together() -> None:
    aug_input = T.AugInput(_IMAGE, boxes=np.array([[0.0, 0, 1, 3]]), sem_seg=_IMAGE.copy())
    transforms = aug_input.apply_augmentations([_FlipByBoxes(), T.VFlipTransform(3)])
    np.testing.assert_array_equal(aug_input.image, _IMAGE[::-1, ::-1])
    np.testing.assert_array_equal(aug_input.sem_seg, _IMAGE[::-1, ::-1])
    np.testing.assert_array_equal(aug_input.boxes, [[3, 0, 4, 3]])
    assert [type(t).__name__ for t in transforms] == ["HFlipTransform", "VFlipTransform"]


def test_array_gives_an_array() -> None:
    image, transforms = T.apply_augmentations([_Legacy()], _IMAGE)
    np.testing.assert_array_equal(image, _IMAGE[:, ::-1])
    assert len(transforms) == 1


def test_input_gives_itself() -> None:
    aug_input = T.StandardAugInput(_IMAGE)
    assert T.apply_transform_gens([_Legacy()], aug_input)[0] is aug_input


def test_later_augmentations_see_what_earlier_ones_made() -> None:
    image, _ = T.apply_augmentations([T.Resize((6, 8)), T.RandomCrop("relative", (0.5, 0.5))], _IMAGE)
    assert image.shape == (3, 4)


def test_input_may_name_other_attributes() -> None:
    augmentation = _Variadic()
    augmentation.input_args = ("image", "mood")
    aug_input = T.AugInput(_IMAGE)
    with pytest.raises(AttributeError, match="mood"):
        augmentation(aug_input)
    aug_input.mood = "good"
    assert isinstance(augmentation(aug_input), T.NoOpTransform)


@pytest.mark.parametrize(
    ("augmentation", "text"),
    [(_Variadic(), "name its arguments"), (_NoTransform(), "not a Transform")],
    ids=["variadic", "returns an image"],
)
def test_faulty_augmentation(augmentation: T.Augmentation, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        augmentation(T.AugInput(_IMAGE))


@pytest.mark.parametrize(
    "image",
    [_IMAGE.astype(np.int64), _IMAGE[0], [[1]]],
    ids=["integers", "one axis", "list"],
)
def test_faulty_image(image: object) -> None:
    with pytest.raises(TypeError):
        T.AugInput(image)


def test_list_takes_augmentations_and_transforms_only() -> None:
    with pytest.raises(TypeError, match="int"):
        T.AugmentationList([1])


def test_text_shows_what_was_given() -> None:
    assert repr(_Legacy(5)) == "_Legacy(width=5)"
    assert repr(T.RandomFlip()) == "RandomFlip()"
    assert repr(T.RandomFlip(prob=0.25)) == "RandomFlip(prob=0.25)"
    assert repr(T.RandomFlip(0.25, horizontal=False, vertical=True)) == (
        "RandomFlip(prob=0.25, horizontal=False, vertical=True)"
    )
    assert repr(T.RandomCrop("relative", (0.5, 1))) == "RandomCrop(crop_type='relative', crop_size=(0.5, 1))"
    assert repr(T.ResizeShortestEdge(40)) == "ResizeShortestEdge(short_edge_length=(40, 40))"
    assert repr(T.RandomApply(T.RandomFlip(), 0.3)) == "RandomApply(tfm_or_aug=RandomFlip(), prob=0.3)"
    assert repr(T.RandomApply(T.NoOpTransform())) == f"RandomApply(tfm_or_aug={T.NoOpTransform()!r})"
    assert repr(T.AugmentationList([_Legacy(5), T.RandomFlip()])) == "AugmentationList[_Legacy(width=5), RandomFlip()]"


def test_text_of_long_or_unknown_arguments() -> None:
    class Forgetful(T.Augmentation):
        def __init__(self, table: object, *more: object) -> None:
            self.table = table

    assert repr(Forgetful(np.eye(3), 2)) == "Forgetful(table=...)"
    flip = T.HFlipTransform(4)
    assert repr(T.AugmentationList([flip])) == f"AugmentationList[{flip!r}]"
