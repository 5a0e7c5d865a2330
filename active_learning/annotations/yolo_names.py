"""The class names of a YOLO data set, whose label files have numbers alone.

They stand in a data.yaml, as Ultralytics reads it and Roboflow and CVAT write it, or one a line in a text: obj.names of
Darknet, classes.txt of Label Studio and LabelImg, _darknet.labels of Roboflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from active_learning.annotations.documents import brief, read_content
from active_learning.annotations.yolo_layout import looks_like_labels
from active_learning.errors import AnnotationError

DATA_FILE = "data.yaml"
_YAML = (".yaml", ".yml")
_LISTS = ("classes.txt", "_darknet.labels")
_SPLITS = ("train", "val", "validation", "valid", "test")
_FEWEST = 5  # words of a line of a label file
_MOST_BYTES = 2**22  # of a yaml file; one of 20,000 classes has half a million


def may_hold_names(filename: str) -> bool:
    """By the name of the file."""
    name = filename.lower()
    return not name.startswith(".") and (name.endswith((*_YAML, ".names")) or name in _LISTS)


def read_names(path: Path) -> dict[int, str] | None:
    """From class numbers to names; None where the file is no description of a data set, such as a classes.txt that is
    the label file of an image called classes.jpg.

    Raises:
        AnnotationError: it is one, and is damaged, contradicts itself, or is of keypoints.
    """
    content = read_content(path)
    is_yaml = path.suffix.lower() in _YAML
    if is_yaml and (b"names" not in content.replace(b"\0", b"") or len(content) > _MOST_BYTES):
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    return _names_of_yaml(text, path) if is_yaml else _names_of_lines(text, path)


def _names_of_lines(text: str, path: Path) -> dict[int, str] | None:
    """Blank lines count, so that no class moves to another's number."""
    if len(text.split("\n", 1)[0].split()) >= _FEWEST and looks_like_labels(path):
        return None
    names = {number: line.strip() for number, line in enumerate(text.rstrip().split("\n")) if line.strip()}
    if not names:
        raise AnnotationError(f"{path}: is empty; write the names of the classes into it, one a line")
    return names


def _names_of_yaml(text: str, path: Path) -> dict[int, str] | None:
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)  # nodes: no alias is expanded, and `no` stays a text
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        remedy = "write / for \\ between folders" if "escape" in (error.problem or "") else "correct it"
        raise AnnotationError(f"{path}: {line}is no YAML: {error.problem or error.context}; {remedy}") from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{path}: is no YAML: {error}; correct it") from error
    if not isinstance(root, yaml.MappingNode):
        return None
    fields = _fields(root)
    described = [key for key in ("names", "nc", "path", *_SPLITS) if key in fields]
    if "names" not in fields or (described == ["names"] and isinstance(fields["names"][0], yaml.ScalarNode)):
        return None
    if len(fields["names"]) > 1:
        raise AnnotationError(f"{path}: names: stands there twice; delete one of the two")
    if "kpt_shape" in fields:
        raise AnnotationError(f"{path}: kpt_shape: its objects are keypoints; masks are needed, so export polygons")
    names = _names(fields["names"][0], path)
    _check_count(names, fields.get("nc", []), path)
    return names


def _fields(root: yaml.MappingNode) -> dict[str, list[yaml.Node]]:
    """From each key to its values, of which there are several where it stands several times."""
    fields: dict[str, list[yaml.Node]] = {}
    for key, value in root.value:
        if isinstance(key, yaml.ScalarNode):
            fields.setdefault(key.value, []).append(value)
    return fields


def _names(node: yaml.Node, path: Path) -> dict[int, str]:
    """Of a list, or of a mapping from number to name. Raises AnnotationError."""
    if isinstance(node, yaml.SequenceNode):
        entries = [(str(number), value) for number, value in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        entries = [(key.value if isinstance(key, yaml.ScalarNode) else "", value) for key, value in node.value]
    else:
        raise AnnotationError(f"{path}: names: must be a list of the classes, or number: name for each")
    names: dict[int, str] = {}
    for key, value in entries:
        if not (key.isascii() and key.isdigit() and len(key) < 10) or not isinstance(value, yaml.ScalarNode):
            raise AnnotationError(f"{path}: names: {brief(key)}: must be the number of a class, and its name a text")
        if names.setdefault(int(key), value.value) != value.value:
            both = f"{brief(names[int(key)])} and {brief(value.value)}"
            raise AnnotationError(f"{path}: names: {int(key)} is of {both}; give each its own number")
    if not names:
        raise AnnotationError(f"{path}: names: is empty; write the names of the classes there")
    return names


def _check_count(names: Mapping[int, str], given: Sequence[yaml.Node], path: Path) -> None:
    """Raises AnnotationError where `nc` contradicts the names: a class may be missing, and the numbers be shifted."""
    for node in given:
        count = node.value if isinstance(node, yaml.ScalarNode) else ""
        if count not in (str(len(names)), str(max(names) + 1)):
            raise AnnotationError(f"{path}: nc: is {brief(count)}, but names has {len(names)}; correct one of the two")


def names_text(classes: Sequence[str], splits: Mapping[str, str], remark: str = "") -> str:
    """A data.yaml for Ultralytics. It has no `path`: the folders of the splits are relative to the file.

    Args:
        splits: from train, val and test to their folders.
        remark: a line for people.
    """
    fields = {**splits, "nc": len(classes), "names": dict(enumerate(classes))}
    return (f"# {remark}\n" if remark else "") + yaml.safe_dump(fields, allow_unicode=True, sort_keys=False, width=1000)
