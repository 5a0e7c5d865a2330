"""Fonts for texts in any script, such as names of classes: matplotlib's own has no Chinese, Japanese or Korean."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from matplotlib import font_manager

from detectron2.utils.logger import log_first_n

_OWN = "sans-serif"
_BOXES = "Last Resort"  # a font of matplotlib that has boxes for all characters


def font_families(texts: Iterable[str]) -> list[str]:
    """What matplotlib takes as a `family`: its own font, and those of this machine that have what it lacks.

    Where no font has a character, a box is drawn, and a warning says so, once.
    """
    found = {character: _family_with(character) for text in texts for character in text if not character.isascii()}
    if lacking := "".join(character for character, family in found.items() if family is None):
        log_first_n(
            logging.WARNING,
            f"No font of this machine has {lacking}: pictures show boxes in their place. Install one, such as Noto "
            "Sans CJK for Chinese, Japanese and Korean",
            name=__name__,
        )
    return list(dict.fromkeys([_OWN, *filter(None, found.values())]))


@functools.cache
def _family_with(character: str) -> str | None:
    if _has(font_manager.findfont(font_manager.FontProperties(family=[_OWN])), character):
        return _OWN
    fonts = (font for font in font_manager.fontManager.ttflist if not font.name.startswith(_BOXES))
    return next((font.name for font in fonts if font.style == "normal" and _has(font.fname, character)), None)


def _has(file: str, character: str) -> bool:
    try:
        return bool(font_manager.get_font(file).get_char_index(ord(character)))
    except (OSError, RuntimeError):  # removed since, or damaged
        return False


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Without matplotlib's line for each character that is drawn as a box: `font_families` has warned of all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield
