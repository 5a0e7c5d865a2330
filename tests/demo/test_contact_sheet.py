"""The README's picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from demo.contact_sheet import COLORS, SHEET_WIDTH, main, outlined
from demo.heads import CLASSES
from demo.scene import Scene, VisibleHead


def test_outlines_are_drawn_in_the_color_of_their_class() -> None:
    square = np.array([[20.0, 20], [60, 20], [60, 60], [20, 60]])
    scene = Scene(np.zeros((80, 90, 3), np.uint8), (VisibleHead("matured", (square,)),))
    assert tuple(outlined(scene)[20, 40]) == COLORS["matured"]
    assert not scene.picture.any()
    assert set(COLORS) == set(CLASSES)


def test_the_sheet_is_written_small_enough_for_a_readme(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "new" / "sheet.jpg")])
    file = tmp_path / "new" / "sheet.jpg"
    assert cv2.imread(str(file)).shape[1] == SHEET_WIDTH
    assert file.stat().st_size < 300_000
