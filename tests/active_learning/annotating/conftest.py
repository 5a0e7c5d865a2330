"""As the tests of image folders."""

from tests.active_learning.dataset.conftest import add_image, annotate, annotate_in_cvat, train  # noqa: F401
