"""MaskAL: active learning for Mask R-CNN. The public names; each is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from active_learning.annotations import Annotation, Instance, read_annotation
    from active_learning.loop import ActiveLearningLoop
    from active_learning.sampling import image_certainty
    from active_learning.settings import Experiment, Settings, load_settings

__version__ = "0.1.0"
__all__ = [
    "ActiveLearningLoop",
    "Annotation",
    "Experiment",
    "Instance",
    "Settings",
    "image_certainty",
    "load_settings",
    "read_annotation",
]
_HOMES = {
    "ActiveLearningLoop": "active_learning.loop",
    "Annotation": "active_learning.annotations",
    "Experiment": "active_learning.settings",
    "Instance": "active_learning.annotations",
    "Settings": "active_learning.settings",
    "image_certainty": "active_learning.sampling",
    "load_settings": "active_learning.settings",
    "read_annotation": "active_learning.annotations",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
