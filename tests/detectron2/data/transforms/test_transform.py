from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detectron2.data import transforms as T

_RNG = np.random.default_rng(0)
_IMAGE = _RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_uint8_is_resized_as_pillow_does() -> None:
    expected = np.asarray(Image.fromarray(_IMAGE).resize((25, 17), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(T.ResizeTransform(30, 40, 17, 25).apply_image(_IMAGE), expected)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (30, 40, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_shape_and_type_are_kept(shape: tuple[int, ...], dtype: type) -> None:
    image = np.full(shape, 7, dtype=dtype)
    resized = T.ResizeTransform(30, 40, 17, 25).apply_image(image)
    assert resized.shape == (17, 25, *shape[2:])
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, 7, rtol=1e-6)


def test_float_is_resized_as_torch_does() -> None:
    image = _IMAGE[:, ::-1].astype(np.float32)
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    expected = F.interpolate(tensor, (17, 25), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(T.ResizeTransform(30, 40, 17, 25).apply_image(image), expected.numpy())


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int32, np.int64])
def test_labels_are_not_mixed(dtype: type) -> None:
    labels = (_RNG.integers(0, 2, (30, 40)) * (1 if dtype is bool else 200)).astype(dtype)
    resized = T.ResizeTransform(30, 40, 60, 80).apply_segmentation(labels)
    assert resized.dtype == dtype
    np.testing.assert_array_equal(resized, np.repeat(np.repeat(labels, 2, axis=0), 2, axis=1))


def test_resize_checks_size_and_interpolation() -> None:
    transform = T.ResizeTransform(30, 41, 10, 10)
    with pytest.raises(ValueError, match="30x41"):
        transform.apply_image(_IMAGE)
    with pytest.raises(ValueError, match="uint8"):
        T.ResizeTransform(30, 40, 10, 10, Image.Resampling.LANCZOS).apply_image(_IMAGE.astype(np.float32))


def test_resized_coordinates() -> None:
    transform = T.ResizeTransform(30, 40, 60, 20)
    np.testing.assert_allclose(transform.apply_coords(np.array([[40.0, 30.0]])), [[20, 60]])
    np.testing.assert_allclose(transform.apply_box(np.array([[0, 0, 10.0, 10.0]])), [[0, 0, 5, 20]])
    np.testing.assert_allclose(transform.apply_polygons([np.array([[4.0, 3.0]])])[0], [[2, 6]])


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_resize_inverts(h: int, w: int, new_h: int, new_w: int, x: float, y: float) -> None:
    transform = T.ResizeTransform(h, w, new_h, new_w)
    point = np.array([[x * w, y * h]])
    np.testing.assert_allclose(transform.inverse().apply_coords(transform.apply_coords(point.copy())), point, atol=1e-9)


def test_extent_is_a_crop_where_it_stays_inside() -> None:
    transform = T.ExtentTransform((5, 10, 25, 20), (10, 20))
    np.testing.assert_array_equal(transform.apply_image(_IMAGE), _IMAGE[10:20, 5:25])
    np.testing.assert_array_equal(transform.apply_segmentation(_IMAGE[:, :, :1]), _IMAGE[10:20, 5:25, :1])
    np.testing.assert_allclose(transform.apply_coords(np.array([[6.0, 12.0]])), [[1, 2]])


def test_extent_fills_what_is_outside_and_scales() -> None:
    transform = T.ExtentTransform((-40, 0, 40, 30), (15, 40), fill=9)
    for source in (_IMAGE, _IMAGE[:, :, :1], _IMAGE[:, :, 0]):
        image = transform.apply_image(source)
        assert (image[:, :19] == 9).all()
        assert len(np.unique(image[:, 21:])) > 100
    np.testing.assert_allclose(transform.apply_coords(np.array([[0.0, 30.0]])), [[20, 15]])


@pytest.mark.parametrize("angle", [90, 180, 270, -90])
@pytest.mark.parametrize("shape", [(30, 40, 3), (30, 40, 1), (30, 40)])
def test_right_angles_are_exact(angle: int, shape: tuple[int, ...]) -> None:
    image = _RNG.integers(0, 256, shape, dtype=np.uint8)
    rotated = T.RotationTransform(30, 40, angle, expand=True).apply_image(image)
    np.testing.assert_array_equal(rotated, np.rot90(image, angle // 90))


@pytest.mark.parametrize("expand", [True, False])
def test_pixels_and_coordinates_move_together(expand: bool) -> None:
    image = np.zeros((81, 101), np.uint8)
    image[28:33, 58:63] = 255
    transform = T.RotationTransform(81, 101, 33.0, expand=expand, center=None if expand else (40, 50))
    ys, xs = np.nonzero(transform.apply_image(image) > 127)
    moved = transform.apply_coords(np.array([[60.5, 30.5]]))[0]
    np.testing.assert_allclose([xs.mean() + 0.5, ys.mean() + 0.5], moved, atol=0.3)


def test_rotated_labels_are_not_mixed() -> None:
    labels = _RNG.random((30, 40)) > 0.5
    rotated = T.RotationTransform(30, 40, 17.0).apply_segmentation(labels)
    assert rotated.dtype == bool
    assert set(np.unique(T.RotationTransform(30, 40, 17.0).apply_segmentation(labels * np.uint8(200)))) == {0, 200}


@given(st.integers(2, 60), st.integers(2, 60), st.floats(-180, 180))
def test_rotation_inverts(h: int, w: int, angle: float) -> None:
    transform = T.RotationTransform(h, w, angle, expand=True)
    points = np.array([[0.0, 0.0], [w, h], [w / 3, h / 2]])
    back = transform.inverse().apply_coords(transform.apply_coords(points))
    # The rotated image has whole pixels, which moves everything by up to one.
    np.testing.assert_allclose(back, points, atol=1.01)
    assert transform.inverse().apply_image(transform.apply_image(np.zeros((h, w), np.uint8))).shape == (h, w)


def test_rotation_that_cuts_has_no_inverse() -> None:
    with pytest.raises(NotImplementedError, match="expand"):
        T.RotationTransform(30, 40, 10, expand=False).inverse()


def test_nothing_to_rotate() -> None:
    assert T.RotationTransform(30, 40, 360).apply_image(_IMAGE) is _IMAGE
    with pytest.raises(ValueError, match="30x41"):
        T.RotationTransform(30, 41, 10).apply_image(_IMAGE)


@pytest.mark.parametrize(
    "transform",
    [
        T.ColorTransform(lambda image: 255 - image),
        T.PILColorTransform(lambda image: image.point(lambda value: 255 - value)),
    ],
    ids=["array", "pillow"],
)
def test_colours_only(transform: T.ColorTransform) -> None:
    np.testing.assert_array_equal(transform.apply_image(_IMAGE), 255 - _IMAGE)
    points = np.array([[1.0, 2.0]])
    assert transform.apply_coords(points) is points
    assert transform.apply_segmentation(_IMAGE) is _IMAGE
    assert isinstance(transform.inverse(), T.NoOpTransform)
    with pytest.raises(ValueError, match="function"):
        type(transform)("red")


def test_integer_coordinates_lose_their_fractions() -> None:
    coords = np.array([[3, 5], [7, 1]])
    assert T.ResizeTransform(10, 10, 15, 25).apply_coords(coords).tolist() == [[7, 7], [17, 1]]
    assert coords.dtype.kind == "i"
