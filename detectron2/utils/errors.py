"""Errors that are caught by the type they have here and by the type they have in Detectron2."""


class InputError(ValueError, AssertionError):
    """An argument or input that cannot be used; Detectron2 raises AssertionError for it."""


class NoEventStorageError(RuntimeError, AssertionError):
    """There is no event storage to write to; Detectron2 raises AssertionError for it."""
