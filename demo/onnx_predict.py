"""Predict with an exported network: numpy, OpenCV, onnxruntime and PyYAML, nothing of MaskAL.

    python demo/onnx_predict.py --model model.onnx --output predictions IMAGE ...

Copy from here what your own program needs: `load`, `detect`, `paste`. For each image a picture of what is seen in it is
written, and a json file that LabelMe opens.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import yaml


@dataclass
class Network:
    session: onnxruntime.InferenceSession
    classes: list[str]
    colour_order: str
    mask_threshold: float


def load(path: Path) -> Network:
    """The network of model.onnx, with what the model.yaml beside it says. On a GPU: CUDAExecutionProvider.

    Raises ValueError where the two are not of one export: the classes would be those of another network.
    """
    twin = path.with_suffix(".yaml")
    facts = yaml.safe_load(twin.read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fingerprint = session.get_modelmeta().custom_metadata_map.get("fingerprint")
    needed = {"classes", "colour_order", "mask_threshold"}
    if not isinstance(facts, dict) or not needed <= facts.keys() or facts.get("fingerprint") != fingerprint:
        raise ValueError(f"{twin} is not of this network; copy both files of one export, or export again")
    return Network(session, facts["classes"], facts["colour_order"], facts["mask_threshold"])


def detect(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    """What is seen in an image (height, width, 3) uint8 as OpenCV reads it, best first.

    `boxes` (n, 4): x0, y0, x1, y1 in pixels; `scores` (n,); `classes` (n,): places in network.classes; `masks`
    (n, S, S): how probably each cell of the box is of the object.
    """
    given = image if network.colour_order == "BGR" else image[:, :, ::-1]
    names = [output.name for output in network.session.get_outputs()]
    return dict(zip(names, network.session.run(names, {"image": np.ascontiguousarray(given)}), strict=True))


def paste(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float) -> np.ndarray:
    """The mask (S, S) of a box as (height, width) bool."""
    return pasted_probabilities(mask, box, height, width) >= threshold


def pasted_probabilities(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width), interpolated between the middles of the cells of the mask (S, S) of a box."""
    down = interpolation(box[1], box[3], height, len(mask))
    across = interpolation(box[0], box[2], width, len(mask))
    return np.asarray(down @ mask @ across.T)


def interpolation(start: float, end: float, length: int, cells: int) -> np.ndarray:
    """(length, cells): how much each cell between start and end counts at each pixel."""
    places = (np.arange(length, dtype=np.float32) + 0.5 - start) / (end - start) * cells - 0.5
    return np.maximum(1 - np.abs(places[:, None] - np.arange(cells, dtype=np.float32)), 0)


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons (points, 2) in pixels of the image that hold the middles of a part's pixels; holes are left out."""
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)  # so that a single pixel has an area, too
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour[:, 0] + 0.5) / 2 for contour in found]


def write_results(network: Network, image: np.ndarray, source: Path, folder: Path) -> str:
    """The picture and the json file of an image; returns how many objects are seen in it, in words."""
    height, width = image.shape[:2]
    found, picture, shapes = detect(network, image), image.copy(), []
    for number, (box, score, label) in enumerate(zip(found["boxes"], found["scores"], found["classes"], strict=True)):
        mask = paste(found["masks"][number], box, height, width, network.mask_threshold)
        name, colour = network.classes[label], np.array(PALETTE[label % len(PALETTE)])
        picture[mask] = (0.6 * picture[mask] + 0.4 * colour).astype(np.uint8)
        place = int(box[0]), max(int(box[1]) - 4, 12)
        cv2.putText(
            picture, f"{name} {score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour.tolist(), 1, cv2.LINE_AA
        )
        for outline in outlines(mask):
            points = {"points": outline.tolist(), "shape_type": "polygon", "flags": {}}
            shapes.append({"label": name, "group_id": number, **points})
    where = {"imagePath": path_from(folder, source), "imageData": None}
    document: dict[str, object] = {"version": "5.0.1", "flags": {}, "shapes": shapes, **where}
    text = json.dumps({**document, "imageHeight": height, "imageWidth": width})
    contents = {".jpg": cv2.imencode(".jpg", picture)[1].tobytes(), ".json": text.encode()}
    write_together({folder / f"{source.stem}{suffix}": content for suffix, content in contents.items()})
    count = len(found["boxes"])
    lost = count - len({shape["group_id"] for shape in shapes})
    missing = f", {lost} of them without a mask, not in the json file" if lost else ""
    return f"{count} object{'' if count == 1 else 's'}{missing}"


def write_together(files: dict[Path, bytes]) -> None:
    """All of them, or, where a disk is full, none."""
    drafts = {path: path.with_name(f".unfinished-{os.getpid()}{path.suffix}") for path in files}
    try:
        for path, content in files.items():
            drafts[path].write_bytes(content)
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def path_from(folder: Path, path: Path) -> str:
    """As seen from the folder; the whole path where that lies on another drive of Windows."""
    try:
        return os.path.relpath(place_of(path), folder.resolve())
    except ValueError:
        return str(path.absolute())


def place_of(path: Path) -> Path:
    """The whole path, with its folders as they are behind links, under its own name."""
    return path.parent.resolve() / path.name


def read(path: Path) -> np.ndarray:
    """The image upright, with 8 bits a channel, as OpenCV reads it; raises OSError, ValueError or cv2.error.

    Of 16 bits OpenCV takes the upper 8; MaskAL spreads what is there, so a network trained on such images needs that.
    """
    content = np.frombuffer(path.read_bytes(), np.uint8)  # not imread, which does not take every name on Windows
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if image is None:
        raise ValueError("is no image that OpenCV reads")
    return image


def where_to_write(images: list[Path], folder: Path) -> str:
    """Why the results cannot be written into the folder; "" where they can. Nothing is written over."""
    if os.path.lexists(folder) and not folder.is_dir():
        return f"{folder} is no folder; give another name"
    if folder.resolve() in {path.resolve().parent for path in images}:
        return f"{folder} holds the images, which would be written over; give another folder"
    for path in images:
        same = [other for other in images if other.stem.lower() == path.stem.lower()]
        if len(same) > 1:
            return f"{same[0]} and {same[1]} would be written to one file; predict them into two folders"
        names = (folder / f"{path.stem}{suffix}" for suffix in (".json", ".jpg"))
        if there := [one for one in names if os.path.lexists(one)]:  # a link may lead to what is not there yet
            return f"{there[0]} is there already and would be written over; give another folder"
    return ""


# Blue, green, red.
PALETTE = [(60, 180, 75), (48, 130, 245), (75, 25, 230), (200, 130, 0), (180, 30, 145), (240, 240, 70), (230, 50, 240)]


def say(text: str) -> bool:
    """On standard output; False where that fails. That a reader such as `head` has closed it is no failure."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush would fail
        if not isinstance(error, BrokenPipeError):
            print(f"standard output cannot be written: {error.strerror}; the files are written", file=sys.stderr)
            return False
    return True


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        return run()
    except KeyboardInterrupt:
        print("\nInterrupted. What is finished is kept.", file=sys.stderr)
        return 130


def run() -> int:
    parser = argparse.ArgumentParser(description="Predict with an exported network.")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="model.onnx; model.yaml is beside it")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="for a picture and a json an image"
    )
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    given = parser.parse_args()
    images: dict[Path, Path] = {}
    for path in given.images:  # one that is given twice is predicted once
        images.setdefault(place_of(path), path)
    given.images = list(images.values())
    if mistake := where_to_write(given.images, given.output):
        parser.error(f"--output: {mistake}")
    try:
        network = load(given.model)
    except Exception as error:  # noqa: BLE001 (those of onnxruntime are of no common class)
        parser.error(f"--model: {given.model} with its {given.model.stem}.yaml cannot be loaded: {error}")
    try:
        given.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {given.output} cannot be made ({error.strerror}); give another folder")
    failed = False
    for path in given.images:
        try:
            seen = write_results(network, read(path), path, given.output)
        except Exception as error:  # noqa: BLE001 (as above: one image must not cost the others)
            print(f"{path}: cannot be predicted: {error}", file=sys.stderr)
            failed = True
        else:
            failed |= not say(f"{path}: {seen}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
