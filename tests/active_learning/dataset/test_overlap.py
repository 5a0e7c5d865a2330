"""Images that lie in two folders, in whatever way they got there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active_learning.dataset.image_folder import take_snapshot
from active_learning.dataset.overlap import MOST_FOUND, shared_images

BIG = 500_000  # more than is read of a file at first


def make(path: Path, seed: int, size: int = 3000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(seed).bytes(size))
    return path


def picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)).save(path)
    return path


def frame(path: Path, grey: int) -> Path:
    """With a little noise."""
    Image.fromarray(np.random.default_rng(5).integers(grey, grey + 3, (240, 320), np.uint8)).save(path)
    return path


def copies(path: Path, *others: Path) -> None:
    for other in others:
        shutil.copy(path, other)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """train with a.png, b.png and sub/c.png, test with x.png; all differ, and all have one size."""
    for seed, name in enumerate(("train/a.png", "train/b.png", "train/sub/c.png", "test/x.png")):
        make(tmp_path / name, seed)
    return tmp_path / "train", tmp_path / "test"


def shared(train: Path, test: Path) -> list[tuple[str, str]]:
    found = shared_images(take_snapshot(test), take_snapshot(train))
    return sorted((image.name, image.other) for image in found)


SHARE: dict[str, tuple[Callable[[Path, Path], object], list[tuple[str, str]]]] = {
    "nothing": (lambda train, test: None, []),
    "a copy": (lambda train, test: shutil.copy(train / "a.png", test), [("a.png", "a.png")]),
    "a renamed copy": (lambda train, test: shutil.copy(train / "a.png", test / "z.png"), [("z.png", "a.png")]),
    "a hard link": (lambda train, test: os.link(train / "b.png", test / "z.png"), [("z.png", "b.png")]),
    "a link, which is passed over": (lambda train, test: (test / "z.png").symlink_to(train / "b.png"), []),
    "a link to a folder, too": (lambda train, test: (test / "more").symlink_to(train / "sub"), []),
    "a big copy": (
        lambda train, test: shutil.copy(make(train / "big.png", 9, BIG), test / "z.png"),
        [("z.png", "big.png")],
    ),
    "a big file that differs in a byte nobody samples": (
        lambda train, test: (make(train / "big.png", 9, BIG), differing(make(test / "big.png", 9, BIG))),
        [],
    ),
    "a copy of what the other folder holds twice": (
        lambda train, test: copies(picture(train / "p.png"), train / "p2.png", test / "z.png"),
        [("z.png", "p.png")],
    ),
    "two copies of what the other folder holds once": (
        lambda train, test: copies(picture(train / "p.png"), test / "y.png", test / "z.png"),
        [("y.png", "p.png"), ("z.png", "p.png")],
    ),
    "two copies of what the other folder holds twice": (
        lambda train, test: copies(picture(train / "p.png"), train / "p2.png", test / "y.png", test / "z.png"),
        [("y.png", "p.png"), ("z.png", "p.png")],
    ),
    "a black frame that one folder holds twice": (
        lambda train, test: copies(frame(train / "p.png", 0), train / "p2.png", test / "z.png"),
        [],
    ),
    "a nearly white frame that the other folder holds twice": (
        lambda train, test: copies(frame(train / "p.png", 253), test / "y.png", test / "z.png"),
        [],
    ),
    "a black frame that each folder holds once": (
        lambda train, test: copies(frame(train / "p.png", 0), test / "z.png"),
        [("z.png", "p.png")],
    ),
    "copies that are no image": (
        lambda train, test: copies(train / "a.png", train / "a2.png", test / "z.png"),
        [],
    ),
    "empty files": (lambda train, test: [(place / "e.png").touch() for place in (train, test)], []),
}


def differing(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("kind", SHARE)
def test_shared_images(folders: tuple[Path, Path], kind: str) -> None:
    prepare, expected = SHARE[kind]
    prepare(*folders)
    assert shared(*folders) == expected


def test_of_a_copied_folder_the_first_are_enough(tmp_path: Path) -> None:
    for seed in range(MOST_FOUND + 20):
        make(tmp_path / "train" / f"{seed}.png", seed, 100 + seed)
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    assert len(shared(tmp_path / "train", tmp_path / "test")) == MOST_FOUND
