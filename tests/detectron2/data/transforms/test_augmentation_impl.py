from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2.data import transforms as T
from detectron2.utils.errors import InputError

_IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seed() -> None:
    np.random.seed(0)


@pytest.mark.parametrize(("prob", "name"), [(0.0, "NoOpTransform"), (1.0, "HFlipTransform")])
def test_flip_probability(prob: float, name: str) -> None:
    assert type(T.RandomFlip(prob).get_transform(_IMAGE)).__name__ == name


def test_flip_happens_half_of_the_time() -> None:
    flips = [isinstance(T.RandomFlip().get_transform(_IMAGE), T.HFlipTransform) for _ in range(1000)]
    assert 430 < sum(flips) < 570


def test_flip_is_one_of_two() -> None:
    assert isinstance(T.RandomFlip(1.0, horizontal=False, vertical=True).get_transform(_IMAGE), T.VFlipTransform)
    for both in (True, False):
        with pytest.raises(ValueError, match="exactly one"):
            T.RandomFlip(horizontal=both, vertical=both)


@pytest.mark.parametrize(
    ("height", "width", "short", "longest", "expected"),
    [
        (480, 640, 800, 1333, (800, 1067)),
        (640, 480, 800, 1333, (1067, 800)),
        (500, 500, 800, 1333, (800, 800)),
        (1080, 1920, 800, 1333, (750, 1333)),
        (100, 1000, 800, 1333, (133, 1333)),
        (3, 7, 800, sys.maxsize, (800, 1867)),
        (1, 4000, 800, 1333, (1, 1333)),
        (60000, 2, 64, 96, (96, 1)),
        (1, 1, 800, 1333, (800, 800)),
    ],
    ids=["landscape", "portrait", "square", "limited", "very wide", "tiny", "one row", "a thread", "one pixel"],
)
def test_shortest_edge(height: int, width: int, short: int, longest: int, expected: tuple[int, int]) -> None:
    assert T.ResizeShortestEdge.get_output_shape(height, width, short, longest) == expected
    transform = T.ResizeShortestEdge(short, longest).get_transform(np.empty((height, width, 3), np.uint8))
    assert (transform.new_h, transform.new_w) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1000), st.integers(0, 1000))
def test_shortest_edge_respects_both_bounds(height: int, width: int, short: int, extra: int) -> None:
    shape = T.ResizeShortestEdge.get_output_shape(height, width, short, short + extra)
    assert max(shape) <= short + extra
    assert 1 <= min(shape) <= short


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1), (2, 900)])
def test_no_augmentation_leaves_an_image_without_pixels(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    augmentations = [
        T.ResizeShortestEdge((3, 8), 20),
        T.ResizeScale(0.01, 0.1, 64, 64),
        T.RandomCrop("relative", (0.1, 0.1)),
        T.RandomCrop("relative_range", (0.01, 0.01)),
        T.RandomExtent((0.1, 0.3), (0.1, 0.1)),
        T.RandomRotation(30),
    ]
    for augmentation in augmentations:
        resized = augmentation.get_transform(image).apply_image(image)
        assert min(resized.shape) > 0, augmentation


@pytest.mark.parametrize(
    ("lengths", "style", "expected"),
    [((10, 12), "range", {10, 11, 12}), ((10, 12), "choice", {10, 12}), (11, "range", {11}), (11, "choice", {11})],
)
def test_lengths_sampled(lengths: object, style: str, expected: set[int]) -> None:
    augmentation = T.ResizeShortestEdge(lengths, sample_style=style)
    assert {augmentation.get_transform(_IMAGE).new_h for _ in range(100)} == expected


def test_length_zero_leaves_the_image() -> None:
    assert isinstance(T.ResizeShortestEdge(0).get_transform(_IMAGE), T.NoOpTransform)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: T.ResizeShortestEdge((1, 2), sample_style="any"), "'any'"),
        (lambda: T.ResizeShortestEdge((1, 2, 3), sample_style="range"), "range"),
        (lambda: T.RandomRotation(3, sample_style="any"), "'any'"),
        (lambda: T.RandomCrop("any", (1, 1)), "'any'"),
        (lambda: T.RandomApply(T.NoOpTransform(), 1.5), "1.5"),
    ],
    ids=["resize style", "resize range", "rotation style", "crop type", "probability"],
)
def test_faulty_arguments(make, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(("shape", "expected"), [(10, (10, 10)), ((10, 20), (10, 20))])
def test_fixed_resize(shape: object, expected: tuple[int, int]) -> None:
    assert T.apply_augmentations([T.Resize(shape)], _IMAGE)[0].shape[:2] == expected


def test_scale_jitter_fits_the_scaled_target() -> None:
    transform = T.ResizeScale(0.5, 0.5, 60, 200).get_transform(_IMAGE)
    assert (transform.new_h, transform.new_w) == (30, 40)
    sampled = [T.ResizeScale(0.1, 2.0, 60, 80).get_transform(_IMAGE).new_h for _ in range(50)]
    assert 6 <= min(sampled) < max(sampled) <= 120


@pytest.mark.parametrize("size", [(20, 50), (50, 20), (20, 20), (50, 50)])
def test_fixed_size_crop(size: tuple[int, int]) -> None:
    aug_input = T.AugInput(_IMAGE, sem_seg=np.zeros((30, 40), np.uint8))
    T.FixedSizeCrop(size)(aug_input)
    assert aug_input.image.shape[:2] == aug_input.sem_seg.shape == size
    padded = np.zeros(size, bool)
    padded[30:] = padded[:, 40:] = True
    assert (aug_input.image[padded] == 128).all()
    assert (aug_input.sem_seg[padded] == 255).all()
    assert (aug_input.sem_seg[~padded] == 0).all()


def test_fixed_size_crop_without_padding() -> None:
    assert T.apply_augmentations([T.FixedSizeCrop((20, 50), pad=False)], _IMAGE)[0].shape[:2] == (20, 40)


def test_rotation_angles() -> None:
    angles = {T.RandomRotation([-5, 5]).get_transform(_IMAGE).angle for _ in range(20)}
    assert len(angles) == 20
    assert all(-5 <= angle <= 5 for angle in angles)
    choices = {T.RandomRotation([10, 20], sample_style="choice").get_transform(_IMAGE).angle for _ in range(40)}
    assert choices == {10, 20}
    assert isinstance(T.RandomRotation(0.0).get_transform(_IMAGE), T.NoOpTransform)


@pytest.mark.parametrize(
    ("center", "style", "expected"),
    [
        (None, "range", {(20, 15)}),
        ((0.25, 0.5), "range", {(10, 15)}),
        (((0, 0), (1, 1)), "choice", {(0, 0), (40, 30)}),
    ],
    ids=["middle", "point", "choice"],
)
def test_rotation_centre(center: object, style: str, expected: set[tuple[float, float]]) -> None:
    augmentation = T.RandomRotation([30, 40], expand=False, center=center, sample_style=style)
    assert {augmentation.get_transform(_IMAGE).center for _ in range(30)} == expected


def test_extent_size_and_shift() -> None:
    transform = T.RandomExtent((0.5, 0.5), (0.0, 0.0)).get_transform(_IMAGE)
    assert transform.src_rect == (10, 7.5, 30, 22.5)
    assert transform.output_size == (15, 20)
    shifts = [T.RandomExtent((1, 1), (0.2, 0.1)).get_transform(_IMAGE).src_rect[:2] for _ in range(200)]
    assert np.abs(shifts).max(axis=0) == pytest.approx([4, 1.5], rel=0.05)


@pytest.mark.parametrize(
    ("crop_type", "size", "smallest", "largest"),
    [
        ("absolute", (10, 60), (10, 40), (10, 40)),
        ("relative", (0.5, 0.25), (15, 10), (15, 10)),
        ("relative_range", (0.5, 0.25), (15, 10), (30, 40)),
        ("absolute_range", (10, 35), (10, 10), (30, 35)),
    ],
)
def test_crop_sizes(crop_type: str, size: tuple, smallest: tuple[int, int], largest: tuple[int, int]) -> None:
    sampled = np.array([T.RandomCrop(crop_type, size).get_crop_size((30, 40)) for _ in range(300)])
    np.testing.assert_allclose(sampled.min(axis=0), smallest, atol=1 if "range" in crop_type else 0)
    np.testing.assert_allclose(sampled.max(axis=0), largest, atol=1 if "range" in crop_type else 0)


def test_crops_are_everywhere_and_inside() -> None:
    crops = [T.RandomCrop("absolute", (28, 37)).get_transform(_IMAGE) for _ in range(100)]
    assert {crop.y0 for crop in crops} == {0, 1, 2}
    assert {crop.x0 for crop in crops} == {0, 1, 2, 3}
    assert crops[0].inverse().apply_image(crops[0].apply_image(_IMAGE)).shape == _IMAGE.shape


@pytest.mark.parametrize(("prob", "flipped"), [(0.0, False), (1.0, True)])
def test_random_apply(prob: float, flipped: bool) -> None:
    expected = _IMAGE[:, ::-1] if flipped else _IMAGE
    for inner in (T.HFlipTransform(40), T.RandomFlip(1.0)):
        np.testing.assert_array_equal(T.apply_augmentations([T.RandomApply(inner, prob)], _IMAGE)[0], expected)
        transform = T.RandomApply(inner, prob).get_transform(_IMAGE)
        np.testing.assert_array_equal(transform.apply_image(_IMAGE), expected)


_PALE = np.random.default_rng(0).integers(50, 200, (30, 40, 3), dtype=np.uint8)
_GREY = (_PALE @ np.array([0.299, 0.587, 0.114]))[:, :, None]


@pytest.mark.parametrize(
    ("augmentation", "neutral"),
    [(T.RandomBrightness, 0.0), (T.RandomContrast, _PALE.mean()), (T.RandomSaturation, _GREY)],
    ids=["brightness", "contrast", "saturation"],
)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 1.2])
def test_blend(augmentation: type, neutral: object, weight: float) -> None:
    image, _ = T.apply_augmentations([augmentation(weight, weight)], _PALE)
    expected = np.clip(weight * _PALE + (1 - weight) * neutral, 0, 255)
    assert image.dtype == np.uint8
    assert np.abs(image - expected).max() <= 1


def test_weight_is_sampled_from_the_range() -> None:
    weights = [T.RandomBrightness(0.8, 1.2).get_transform(_PALE).dst_weight for _ in range(200)]
    assert 0.8 <= min(weights) < 0.82
    assert 1.18 < max(weights) <= 1.2


def test_lighting_adds_one_colour() -> None:
    np.random.seed(0)
    image, _ = T.apply_augmentations([T.RandomLighting(20.0)], _PALE.astype(np.float64))
    difference = (image - _PALE).reshape(-1, 3)
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-9)
    assert np.abs(difference[0]).max() > 0.1


@pytest.mark.parametrize("augmentation", [T.RandomSaturation(0.5, 1.5), T.RandomLighting(0.1)], ids=repr)
def test_colour_is_needed(augmentation: T.Augmentation) -> None:
    with pytest.raises(ValueError, match="RGB"):
        T.apply_augmentations([augmentation], _PALE[:, :, :1])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: T.Resize(True), "Resize: shape is True; it must be a number of at least 1"),
        (lambda: T.Resize((True, 30)), "Resize: shape is True"),
        (lambda: T.Resize((0, 30)), "Resize: shape is 0"),
        (lambda: T.Resize((30, 30, 3)), r"Resize: shape must be \(height, width\), not \(30, 30, 3\)"),
        (lambda: T.ResizeShortestEdge(True), "short_edge_length is True"),
        (lambda: T.ResizeShortestEdge([True, 30]), "short_edge_length is True"),
        (lambda: T.ResizeShortestEdge([np.True_, 30]), "short_edge_length is .*True"),
        (lambda: T.ResizeShortestEdge(-5), "short_edge_length is -5; it must be a number of at least 0"),
        (lambda: T.ResizeShortestEdge(["30"], sample_style="choice"), "short_edge_length is '30'"),
        (lambda: T.ResizeShortestEdge([30, float("nan")]), "short_edge_length is nan"),
        (lambda: T.ResizeShortestEdge((), sample_style="choice"), "no length to choose from"),
        (lambda: T.ResizeShortestEdge((30, 20)), r"\(30, 20\) must be the smallest, then the largest"),
        (lambda: T.ResizeShortestEdge(30, True), "max_size is True"),
        (lambda: T.ResizeShortestEdge(30, 0), "max_size is 0"),
        (lambda: T.ResizeScale(True, 2.0, 30, 30), "scale is True"),
        (lambda: T.ResizeScale(0.1, 2.0, True, 30), "target size is True"),
        (lambda: T.FixedSizeCrop((True, 30)), "FixedSizeCrop: crop_size is True"),
        (lambda: T.FixedSizeCrop((0, 30)), "FixedSizeCrop: crop_size is 0"),
        (lambda: T.RandomCrop("absolute", (True, 30)), "absolute crop_size is True"),
        (lambda: T.RandomCrop("absolute_range", (0, 30)), "absolute_range crop_size is 0"),
        (lambda: T.RandomCrop("absolute", (30,)), "crop_size must be"),
        (lambda: T.RandomCrop("relative", (True, 0.5)), "relative crop_size is True"),
        (lambda: T.RandomCrop("relative_range", (0.5, 1.5)), "is 1.5; it must be a number of at least 0 and at most 1"),
    ],
)
def test_a_size_is_a_number(make, text: str) -> None:
    """A bool would be taken for 0 or 1: an image of one pixel."""
    with pytest.raises(InputError, match=text):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: T.Resize((np.int64(9), 7)),
        lambda: T.ResizeShortestEdge(np.array([9, 12]), np.inf),
        lambda: T.ResizeShortestEdge(0),
        lambda: T.FixedSizeCrop(np.array([9, 12])),
        lambda: T.RandomCrop("absolute", (9.0, 12.0)),
        lambda: T.RandomCrop("relative", (1, 0)),
    ],
)
def test_numbers_of_other_types_are_sizes(make) -> None:
    assert make().get_transform(_IMAGE).apply_image(_IMAGE).size


@pytest.mark.parametrize("error", [ValueError, AssertionError])
@pytest.mark.parametrize("prob", [-0.01, 1.01])
def test_probabilities_are_checked_first(prob: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="prob"):
        T.RandomApply(None, prob=prob)  # type: ignore[arg-type]
