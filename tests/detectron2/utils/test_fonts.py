"""Names of classes in any script, on a machine whose fonts are made up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import font_manager

from detectron2.utils import fonts, logger
from detectron2.utils.fonts import font_families
from detectron2.utils.visualizer import Visualizer

GLYPHS = {"own.ttf": "é", "boxes.ttf": "é健康ไ", "slanted.ttf": "健康", "han.ttf": "健康", "thai.ttf": "ไ"}
INSTALLED = [
    SimpleNamespace(name="Last Resort High-Efficiency", fname="boxes.ttf", style="normal"),
    SimpleNamespace(name="Han", fname="slanted.ttf", style="italic"),
    SimpleNamespace(name="Han", fname="han.ttf", style="normal"),
    SimpleNamespace(name="Thai", fname="thai.ttf", style="normal"),
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(font_manager, "findfont", lambda properties: "own.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", INSTALLED)
    monkeypatch.setattr(fonts, "_has", lambda file, character: character in GLYPHS[file])
    forget = fonts._family_with.cache_clear
    forget()
    logger._counts.clear()
    yield
    forget()


@pytest.mark.parametrize(
    ("texts", "families"),
    [
        (["healthy 93%"], ["sans-serif"]),
        (["é"], ["sans-serif"]),
        (["健康 93%", "康"], ["sans-serif", "Han"]),
        (["健 ไ"], ["sans-serif", "Han", "Thai"]),
        (["花"], ["sans-serif"]),
    ],
    ids=["ascii", "accents", "han", "two scripts", "of no font"],
)
def test_fonts_have_what_the_own_one_lacks(texts: list[str], families: list[str]) -> None:
    assert font_families(texts) == families


def test_what_no_font_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for text in ("花健", "花", "草"):
        font_families([text])
    (message,) = caplog.messages
    assert message.startswith("No font of this machine has 花: pictures show boxes in their place")


def test_a_font_that_is_gone_or_damaged_has_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    assert not fonts._has(str(tmp_path / "gone.ttf"), "a")
    assert not fonts._has(str(tmp_path / "damaged.ttf"), "a")
    assert fonts._has(font_manager.findfont(font_manager.FontProperties(family=["sans-serif"])), "é")


@pytest.mark.parametrize("use", ["image", "file"])
def test_pictures_are_drawn_without_a_warning_a_character(tmp_path, monkeypatch, caplog, use: str) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(fonts, "_family_with", lambda character: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("健康", "病"):
            picture = Visualizer(np.zeros((50, 80, 3), np.uint8)).draw_text(f"{text} 93%", (20, 10))
            if use == "file":
                picture.save(tmp_path / "a.png")
            else:
                assert picture.get_image().any()
    assert len(caplog.messages) == 1
