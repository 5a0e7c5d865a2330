"""Errors are caught by the types that two kinds of users expect."""

from __future__ import annotations

import pickle

import pytest

from detectron2.utils.errors import InputError, NoEventStorageError


@pytest.mark.parametrize(("error", "own"), [(InputError, ValueError), (NoEventStorageError, RuntimeError)])
def test_both_types_and_the_text(error: type[Exception], own: type[Exception]) -> None:
    assert issubclass(error, AssertionError)
    assert issubclass(error, own)
    assert str(pickle.loads(pickle.dumps(error("a worker's fault")))) == "a worker's fault"
