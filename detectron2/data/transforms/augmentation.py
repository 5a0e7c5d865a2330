"""Augmentation: samples at random, given its input, the deterministic Transform to apply."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = [
    "AugInput", "Augmentation", "AugmentationList", "StandardAugInput", "TransformGen", "apply_augmentations",
    "apply_transform_gens",
]  # fmt: skip


class Augmentation:
    """A policy that makes a Transform from what `get_transform` asks for by the names of its arguments.

    `get_transform(self, image)` needs the image only; `get_transform(self, image, boxes)` also the attribute `boxes`
    of the AugInput. `input_args` may name the attributes instead. Random numbers come from numpy's global generator.
    """

    input_args: tuple[str, ...] | None = None

    def _init(self, params: dict[str, Any] | None = None) -> None:
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """The transform for this input. Subclasses give it named arguments."""
        raise NotImplementedError(f"{type(self).__name__} has no get_transform")

    def __call__(self, aug_input: AugInput) -> Transform:
        """Sample a transform, apply it to `aug_input` in place, and return it."""
        names = self._input_names() if self.input_args is None else self.input_args
        missing = [name for name in names if not hasattr(aug_input, name)]
        if missing:
            raise AttributeError(f"{type(self).__name__} needs {missing}, which its input does not have")
        transform = self.get_transform(*(getattr(aug_input, name) for name in names))
        if not isinstance(transform, Transform):
            raise TypeError(f"{type(self).__name__}.get_transform returned {type(transform)}, not a Transform")
        aug_input.transform(transform)
        return transform

    def _input_names(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.get_transform).parameters
        if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters.values()):
            raise TypeError(
                f"{type(self).__name__}.get_transform must name its arguments (image, boxes, sem_seg), "
                "or input_args must list them"
            )
        # A single argument is the image, whatever it is called.
        return ("image",) if len(parameters) == 1 else tuple(parameters)

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        """Uniform in [low, high), or in [0, low) if only one number is given."""
        return np.random.uniform(*((0.0, low) if high is None else (low, high)), size=size)

    def __repr__(self) -> str:
        """The class with the arguments that are not their default, in one line."""
        given = [
            f"{name}={_one_line(value)}"
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if (value := getattr(self, name, parameter.default)) is not parameter.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"


def _one_line(value: Any) -> str:
    text = repr(value)
    return "..." if "\n" in text else text


TransformGen = Augmentation
AugmentationOrTransform: TypeAlias = Augmentation | Transform


class _FixedTransform(Augmentation):
    """A transform in the place of an augmentation: no random choice."""

    input_args = ()

    def __init__(self, tfm: Transform) -> None:
        self.tfm = tfm

    def get_transform(self, *args: Any) -> Transform:
        return self.tfm

    def __repr__(self) -> str:
        return repr(self.tfm)


def as_augmentation(aug: AugmentationOrTransform) -> Augmentation:
    """`aug` itself, or a Transform wrapped as an augmentation."""
    if isinstance(aug, Augmentation):
        return aug
    if isinstance(aug, Transform):
        return _FixedTransform(aug)
    raise TypeError(f"expected an Augmentation or a Transform, not {type(aug)}")


class AugmentationList(Augmentation):
    """Augmentations one after another; each sees what the ones before it made."""

    def __init__(self, augs: Iterable[AugmentationOrTransform]) -> None:
        self.augs = [as_augmentation(aug) for aug in augs]

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(repr, self.augs))}]"

    def __call__(self, aug_input: AugInput) -> TransformList:
        return TransformList([aug(aug_input) for aug in self.augs])


class AugInput:
    """What augmentations read and change in place.

    image: HxW or HxWxC array, uint8 in [0, 255] or float. boxes: Nx4, (x0, y0, x1, y1) in pixels. sem_seg: HxW
    integers. More attributes may be set; transforms leave those alone.
    """

    def __init__(
        self, image: np.ndarray, *, boxes: np.ndarray | None = None, sem_seg: np.ndarray | None = None
    ) -> None:
        if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
            raise TypeError(f"the image must be an HxW or HxWxC array, not {getattr(image, 'shape', type(image))}")
        if image.dtype != np.uint8 and image.dtype.kind != "f":
            raise TypeError(f"the image must be uint8 or float, not {image.dtype}")
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply `tfm` to image, boxes and semantic segmentation, in place."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(self, augmentations: Iterable[AugmentationOrTransform]) -> TransformList:
        """Apply `augmentations` one after another, in place; returns the sampled transforms."""
        return AugmentationList(augmentations)(self)


StandardAugInput = AugInput


def apply_augmentations(
    augmentations: Sequence[AugmentationOrTransform], inputs: AugInput | np.ndarray
) -> tuple[Any, TransformList]:
    """The augmented image (for an image array) or the changed AugInput, and the sampled transforms."""
    aug_input = inputs if isinstance(inputs, AugInput) else AugInput(inputs)
    transforms = aug_input.apply_augmentations(augmentations)
    return aug_input if isinstance(inputs, AugInput) else aug_input.image, transforms


apply_transform_gens = apply_augmentations
