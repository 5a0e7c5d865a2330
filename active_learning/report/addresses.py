"""Pictures inside the page, which is one file."""

from __future__ import annotations

import base64
from pathlib import Path

_KINDS = {".jpg": "jpeg", ".png": "png"}


def picture_address(path: Path) -> str:
    """An address that holds the content of a .jpg or .png file. Raises OSError."""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:image/{_KINDS[path.suffix]};base64,{content}"
