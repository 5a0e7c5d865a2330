"""What a V7 Darwin file holds about its image: name, folder, size and slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from active_learning.system.names import normalised

_VIDEO_FIELDS = ("fps", "frame_urls", "frame_manifest")


@dataclass(frozen=True, eq=False)
class Item:
    """The image as the file describes it.

    `names` it may go by, the most telling first; `declared` (height, width) stand at `places`; `slot` is its slot, None
    where all annotations are of this image, `other_slots` are those of the item's other images.
    """

    folder: str = ""
    names: tuple[str, ...] = ()
    declared: tuple[Any, Any] = (None, None)
    places: tuple[str, str] = ("height", "width")
    slot: str | None = None
    other_slots: frozenset[str] = frozenset()
    is_video: bool = False
    is_unclear: bool = False  # which of several slots the image is in

    def holds(self, entry: Any) -> bool:
        """Whether an annotation is of this image."""
        names = self._slots_of(entry)
        return self.slot is None or not names or self.slot in names

    def is_of_another_image(self, entry: Any) -> bool:
        """Whether an annotation is in slots of other images alone; a slot that the item does not have is a mistake."""
        return not self.holds(entry) and self.other_slots.issuperset(self._slots_of(entry))

    def _slots_of(self, entry: Any) -> list[str]:
        names = entry.get("slot_names") if isinstance(entry, dict) else None
        names = [names] if isinstance(names, (str, int)) else names
        return list(map(_slot_name, names)) if isinstance(names, list) else []


def item_of(document: dict[str, Any], image: str) -> Item:
    """The item of version 2.0, or the image of version 1.0; `image` is the name it is read for."""
    item = document.get("item")
    if isinstance(item, dict):
        return _of_slots(item, image)
    top = document.get("image")
    if not isinstance(top, dict):
        return Item()
    return Item(
        folder=_text(top.get("path")),
        names=_texts(top.get("original_filename"), top.get("filename")),
        declared=(top.get("height"), top.get("width")),
        places=("image.height", "image.width"),
        is_video=any(top.get(field) for field in _VIDEO_FIELDS),
    )


def _of_slots(item: dict[str, Any], image: str) -> Item:
    slots = _slots(item)
    folder, name = _text(item.get("path")), _text(item.get("name"))
    if not slots:
        return Item(folder, _texts(name))
    fitting = _fitting(slots, name, image)
    slot = (fitting or slots)[0]
    sources = _source_names(slot)
    suffix = PurePosixPath(sources[0]).suffix if sources else ""
    stem = name.removesuffix(PurePosixPath(name).suffix)
    on_disk = stem + suffix if name and suffix and not name.casefold().endswith(suffix.casefold()) else name
    place, name_of_slot = f"item.slots[{slots.index(slot)}]", _slot_name(slot.get("slot_name"))
    return Item(
        folder=folder,
        names=_texts(on_disk, name, *sources),
        declared=(slot.get("height"), slot.get("width")),
        places=(f"{place}.height", f"{place}.width"),
        slot=name_of_slot or None if len(slots) > 1 else None,
        other_slots=frozenset(_slot_name(one.get("slot_name")) for one in slots) - {name_of_slot},
        is_video=slot.get("type") == "video" or any(slot.get(field) for field in _VIDEO_FIELDS),
        is_unclear=len(fitting) != 1 and all(_slot_name(one.get("slot_name")) for one in slots),
    )


def _slots(item: dict[str, Any]) -> list[dict[str, Any]]:
    entries = item.get("slots")
    return [slot for slot in entries if isinstance(slot, dict)] if isinstance(entries, list) else []


def _fitting(slots: list[dict[str, Any]], item: str, image: str) -> list[dict[str, Any]]:
    """The slots that the image may be in: the only one, those with a source file of its name, those whose folder it is
    in (darwin-py's <item>/<slot>/<file>), or for an image of the item's name the first, as darwin-py has it."""
    if len(slots) == 1:
        return slots
    folder = PurePosixPath(image).parent.name
    of_folder = [slot for slot in slots if folder and _slot_name(slot.get("slot_name")) == folder]
    named = [slot for slot in slots if same_name(_source_names(slot), image)]
    if len(named) > 1:
        return [slot for slot in named if slot in of_folder] or named
    by_name = sorted(slots, key=lambda slot: _slot_name(slot.get("slot_name")))
    return named or of_folder or (by_name[:1] if same_name([item], image) else [])


def slot_files(document: dict[str, Any]) -> tuple[str, ...]:
    """Where darwin-py puts the images of an item with several slots; none for other items."""
    item = document.get("item")
    if not isinstance(item, dict) or len(slots := _slots(item)) < 2:
        return ()
    place = PurePosixPath(_text(item.get("path")).lstrip("/"), _text(item.get("name")))
    files = (
        (_slot_name(slot.get("slot_name")), PurePosixPath(name).name) for slot in slots for name in _source_names(slot)
    )
    return tuple(dict.fromkeys(str(place / slot / name) for slot, name in files if name))


def _slot_name(value: Any) -> str:
    return str(value) if isinstance(value, (str, int)) else ""


def _source_names(slot: dict[str, Any]) -> tuple[str, ...]:
    files = slot.get("source_files")
    files = files if isinstance(files, list) else []
    return _texts(*(file.get("file_name") for file in files if isinstance(file, dict)))


def _text(value: Any) -> str:
    return value.replace("\\", "/") if isinstance(value, str) else ""


def _texts(*values: Any) -> tuple[str, ...]:
    return tuple(text for value in values if (text := _text(value)))


def same_name(names: Iterable[str], image: str) -> bool:
    """Whether one of the names is the image's; names in V7 may go without a suffix."""
    path = PurePosixPath(image)
    return not {_folded(path.name), _folded(path.stem)}.isdisjoint(_folded(PurePosixPath(name).name) for name in names)


def _folded(name: str) -> str:
    return normalised(name).casefold()
