"""Failures that a user can act on. Each names file, place, value and remedy; `exit_code` is the program's."""

from __future__ import annotations


class MaskALError(Exception):
    """A failure that a user can act on."""

    exit_code = 1


class SettingsError(MaskALError):
    """Wrong settings: `str()` is one message with every mistake, one a line; `mistakes` holds them one by one."""

    exit_code = 2

    def __init__(self, heading: str, mistakes: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join([heading, *(f"  - {mistake}" for mistake in mistakes)]))
        self.mistakes = mistakes


class UnreadableImageError(MaskALError):
    """An image file that cannot be read, or cannot be read to its end."""


class AnnotationError(MaskALError):
    """A file that cannot be read as an annotation."""


class ManyImagesError(AnnotationError):
    """A file with the annotations of many images, which `convert` turns into a file for each."""


class AnnotationsAwaited(MaskALError):  # noqa: N818 (it is a state to come back from, not a fault)
    """Images are to be annotated before the run can go on."""

    exit_code = 3


class ForeignFileError(AnnotationError):
    """A file of a program that is no annotation tool, such as the data that a photo export puts beside an image."""


def first_line(error: BaseException) -> str:
    """Its message, without the lines for programmers that PyTorch adds."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]


class FailedElsewhere(MaskALError):  # noqa: N818 (what failed is reported where it failed)
    """Another process of this run ended with `exit_code`, and has reported why."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"another process ended with exit code {exit_code}")
        self.exit_code = exit_code


class RankEndedError(MaskALError):
    """Another process of this run has ended, which the message names with its reason."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
