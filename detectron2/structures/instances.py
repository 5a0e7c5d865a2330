"""The instances of one image, each property a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from detectron2.utils.errors import InputError
from detectron2.utils.transfers import host_copies, host_copy


class Instances:
    """Fields of equal length N (tensors, lists, Boxes, masks, ...) of the N instances of an image.

    Fields are attributes: `instances.gt_boxes = Boxes(...)`. Indexing selects instances from every field.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        """`image_size` is (height, width) in pixels; other arguments are fields."""
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._image_size

    def __setattr__(self, name: str, val: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, val)
        else:
            self.set(name, val)

    def __getattr__(self, name: str) -> Any:
        # copying and unpickling ask for attributes before there are fields
        if name == "_fields" or name not in self._fields:
            raise AttributeError(
                f"Instances has no field {name!r}; its fields: {', '.join(self.__dict__.get('_fields', ()))}"
            )
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field; raises ValueError if its length is not that of the others."""
        length = len(value)
        if self._fields and length != len(self):
            raise InputError(f"field {name!r} has length {length}, but these Instances have {len(self)}")
        self._fields[name] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def remove(self, name: str) -> None:
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field; raises KeyError if there is none of this name."""
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """The fields by name: the dictionary itself, not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        """Instances whose fields are moved by their own `to`, those without one taken as they are.

        To the processor, the tensors of all fields leave a GPU together: it is waited for once.
        """
        fields = self._fields
        if args in (("cpu",), (torch.device("cpu"),)) and not kwargs:
            fields = _on_host(fields)
        moved = {name: value.to(*args, **kwargs) if hasattr(value, "to") else value for name, value in fields.items()}
        return Instances(self._image_size, **moved)

    def pin_memory(self) -> Instances:
        """Instances whose fields are in page-locked memory, those that can be: torch's loaders call this for a GPU."""
        fields = self._fields.items()
        pinned = {name: value.pin_memory() if hasattr(value, "pin_memory") else value for name, value in fields}
        return Instances(self._image_size, **pinned)

    def __getitem__(self, item: int | slice | Tensor | Any) -> Instances:
        """Select instances by an int (giving one instance), slice, or tensor of indices or bools."""
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"instance {item} of {len(self)}")
            item = slice(item % len(self), item % len(self) + 1)
        elif self._fields and isinstance(item, Tensor) and item.dtype is torch.bool and item.dim() == 1:
            if len(item) != len(self):
                raise IndexError(f"a mask of {len(item)} bools cannot index {len(self)} instances")
            item = item.nonzero().flatten()  # once, and not in every field: each makes the processor wait for a GPU
        return Instances(self._image_size, **{name: _select(value, item) for name, value in self._fields.items()})

    def __len__(self) -> int:
        if not self._fields:
            raise NotImplementedError("Instances without a field have no length")
        return len(next(iter(self._fields.values())))

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Instances cannot be iterated over; iterate over a field, or index with ints")

    @staticmethod
    def cat(instance_lists: Sequence[Instances]) -> Instances:
        """All instances in one; their image sizes and field names must be equal."""
        if len(instance_lists) == 0 or not all(isinstance(instances, Instances) for instances in instance_lists):
            raise InputError("Instances.cat takes one or more Instances")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        for other in instance_lists[1:]:
            traced = isinstance(first.image_size, Tensor)  # whose comparison says nothing about other inputs
            if not traced and other.image_size != first.image_size:
                raise InputError(f"cannot join instances of images of size {first.image_size} and {other.image_size}")
            if other.get_fields().keys() != first.get_fields().keys():
                raise InputError(
                    f"cannot join instances with fields {[*first.get_fields()]} and {[*other.get_fields()]}"
                )
        joined = Instances(first.image_size)
        for name in first.get_fields():
            joined.set(name, _join(name, [instances.get(name) for instances in instance_lists]))
        return joined

    def __str__(self) -> str:
        count = len(self) if self._fields else 0
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return f"Instances(num_instances={count}, image_height={height}, image_width={width}, fields=[{fields}])"

    __repr__ = __str__


def _on_host(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are tensors, or hold one, on the processor; the others as they are."""
    tensors = {name: getattr(value, "tensor", value) for name, value in fields.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if _can_be_fetched(tensor)}
    copies = zip(tensors, host_copies(list(tensors.values())), strict=True)
    wrapped = {name: copy if fields[name] is tensors[name] else type(fields[name])(copy) for name, copy in copies}
    return {**fields, **wrapped}


def _can_be_fetched(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda" and not value.requires_grad


def _select(value: Any, item: Any) -> Any:
    if not isinstance(value, (list, tuple)) or isinstance(item, slice):
        # masks that were pasted on the processor, as a GPU was full, lie beside boxes on the GPU
        is_elsewhere = isinstance(item, Tensor) and item.device.type != "cpu" and _is_on_processor(value)
        return value[host_copy(item) if is_elsewhere else item]
    index = host_copy(torch.as_tensor(item))
    positions = index.nonzero().flatten() if index.dtype is torch.bool else index
    return type(value)(value[i] for i in positions.tolist())


def _is_on_processor(value: Any) -> bool:
    return str(getattr(value, "device", None)) == "cpu"


def _join(name: str, values: list[Any]) -> Any:
    kind = type(values[0])
    if isinstance(values[0], Tensor):
        return torch.cat(values)
    if isinstance(values[0], (list, tuple)):
        return kind(chain.from_iterable(values))
    if hasattr(kind, "cat"):
        return kind.cat(values)
    raise ValueError(f"field {name!r} of type {kind.__name__} cannot be joined: it has no `cat`")
