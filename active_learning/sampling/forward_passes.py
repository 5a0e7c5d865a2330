"""What T forward passes with dropout found in one image.

n detections in one of the passes, C numbers that describe the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from active_learning.sampling.observations import Detection


@dataclass(frozen=True, eq=False)
class ForwardPasses:
    """The T passes over one image.

    Attributes:
        passes: T tuples of detections, each in order of falling score; boxes and masks in pixels of the image file.
        features: (C,) the backbone's features, averaged over the image; the same for all passes.
        image_height, image_width: of the image file, in pixels.
    """

    passes: tuple[tuple[Detection, ...], ...]
    features: npt.NDArray[np.float32]
    image_height: int
    image_width: int
