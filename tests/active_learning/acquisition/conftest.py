"""A run's folder, as the report's tests have it."""

from tests.active_learning.report.conftest import make_run  # noqa: F401
