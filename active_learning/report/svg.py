"""Matplotlib figures as SVG inside a page: with its colours, light and dark, its font, and ids that are unique there.

Matplotlib takes no CSS variables. So figures have stand-in colours, which are replaced in the text it writes.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#010101"  # text
MUTED = "#020202"  # axes, texts of lesser weight
GRID = "#030303"
SERIES = tuple(f"#0400{index:02d}" for index in range(10))  # one a strategy
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, and takes the page's font
    "svg.hashsalt": "maskal",  # the same numbers make the same file
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def new_figure(width: float, height: float, **grid: Any) -> tuple[Figure, Any]:
    """A figure of that size in inches, and its axes: one, or an array of them as Figure.subplots gives it."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(**grid)


def to_svg(figure: Figure, *, name: str, description: str) -> str:
    """An <svg> element.

    Args:
        name: unique in the page; ids of the figure start with it.
        description: its text for a person who does not see it.
    """
    stream = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)  # older versions of Matplotlib
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box, "matplotlib always writes one"
    label = html.escape(description)
    opening = f'<svg class="figure" role="img" aria-label="{label}" {box[0]}>'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()
