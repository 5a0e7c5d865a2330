"""What is known about a feature map before there is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Known parts of a feature map's shape; `stride` is in pixels of the network's input, unknown parts are None."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
