"""Images with annotations, for the benchmarks' tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from active_learning.annotations import Annotation, Instance, Part, labelme


def annotated_image(path: Path, *labels: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    square = Part(np.array([[4.0, 4], [20, 4], [20, 20]]))
    annotation = Annotation(path.name, 32, 32, tuple(Instance(label, (square,)) for label in labels))
    labelme.write(annotation, path.with_suffix(".json"))
