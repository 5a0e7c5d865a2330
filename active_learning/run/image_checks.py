"""What a run must not start with, of the image files themselves: checks of the list `CHECKS`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations

from active_learning.dataset.overlap import shared_images
from active_learning.dataset.same_pictures import read_pictures, same_pictures
from active_learning.errors import MaskALError
from active_learning.run.findings import Finding, Kind
from active_learning.run.large_images import describe_large_images, describe_tiles
from active_learning.run.near_duplicates import describe_near_duplicates
from active_learning.run.project import INITIAL, Project
from active_learning.system.image_ends import broken_off_fault, cut_off_fault
from active_learning.system.image_files import image_size
from active_learning.system.progress import progress
from active_learning.system.wording import and_more, counted

HEADERS_READ = 1000  # of the images of a folder that have no annotation; the others' are read with it
SIZES_READ = 100  # the same, to find large ones


def headers(project: Project) -> Iterator[Finding]:
    for split, reading in project.readings.items():
        folder, step = project.snapshots[split].folder, max(len(reading.bare) // HEADERS_READ, 1)
        for name in reading.bare[::step]:
            try:
                image_size(folder / name, project.settings.most_pixels)
            except MaskALError as error:
                yield Finding(str(error))


def ends(project: Project) -> Iterator[Finding]:
    """Of all images, as a copy that has ended early has its header. With --deep all is decoded."""
    for snapshot in project.snapshots.values() if not project.deep else ():
        for name in progress(snapshot.images, what=f"checking {snapshot.folder}", unit="image"):
            if fault := cut_off_fault(snapshot.folder / name, project.settings.most_pixels):
                yield Finding(fault)


def large_images(project: Project) -> Iterator[Finding]:
    """Of images without an annotation, a few are looked at."""
    cfg = project.network
    if isinstance(cfg, MaskALError):  # which `checks` reports
        return
    yield from (Finding(text, Kind.NOTE) for text in describe_tiles(cfg))
    for split, reading in project.readings.items():
        folder, sizes = project.snapshots[split].folder, dict(reading.sizes)
        for name in reading.bare[:: max(len(reading.bare) // SIZES_READ, 1)]:
            with suppress(MaskALError):  # which `headers` reports
                sizes[name] = image_size(folder / name, project.settings.most_pixels)
        yield from (Finding(text, Kind.NOTE) for text in describe_large_images(folder, sizes, cfg))


def pixels(project: Project) -> Iterator[Finding]:
    """All images, decoded and resized as for the network."""
    from active_learning.network.image_batches import UnreadableImage, read_images

    if isinstance(project.network, MaskALError):  # which `checks` reports
        return
    cfg = project.network.clone()
    cfg.INPUT.TILE_SIZE = 0  # tiles are decoded later, where they are used
    for snapshot in project.snapshots.values():
        images = read_images(snapshot.folder, snapshot.images, cfg)
        total = len(snapshot.images)
        for image in progress(images, what=f"decoding {snapshot.folder}", unit="image", total=total):
            path = snapshot.folder / image.name
            if fault := image.fault if isinstance(image, UnreadableImage) else broken_off_fault(path):
                yield Finding(fault)


def near_duplicates(project: Project) -> Iterator[Finding]:
    if (snapshot := project.snapshots.get("train")) and snapshot.images:
        text = describe_near_duplicates(snapshot.folder, len(snapshot.images), project.near_duplicates)
        yield from [Finding(text, Kind.NOTE)] if text else []


def saved_anew(project: Project) -> Iterator[Finding]:
    """Those that are equal to the last byte are found without a look at their pixels."""
    snapshots, most = project.snapshots, project.settings.most_pixels
    pictures = {split: read_pictures(one.folder, one.images, most) for split, one in snapshots.items()}
    for (split, one), (later, other) in combinations(pictures.items(), 2):
        if (split, later) != ("train", INITIAL):
            equal = {image.name for image in shared_images(snapshots[later], snapshots[split])}
            found = [image for image in same_pictures(other, one) if image.name not in equal]
            names = and_more([f"{image.name} ({image.other})" for image in found], 3)
            text = f"{later}dir: {counted(len(found), 'image')} of it may be images of {split}dir, saved anew: {names}"
            yield from [Finding(f"{text}; leave each in one of the two", Kind.WARNING)] if found else []
