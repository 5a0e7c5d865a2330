"""The small annotated data set of the tests of active_learning."""

from tests.active_learning.conftest import make_record, settings

__all__ = ["make_record", "settings"]
