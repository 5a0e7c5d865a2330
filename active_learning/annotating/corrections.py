"""What a person saved in the annotate folder after the annotation of that image had been collected."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from active_learning.annotating.annotation_search import search_annotate_folder
from active_learning.annotating.image_copies import fault_of_copy
from active_learning.dataset.annotation_cache import AnnotationCache
from active_learning.dataset.image_folder import find_annotations
from active_learning.system.file_moves import same_content
from active_learning.system.own_files import OwnFiles


@dataclass
class Corrections:
    """`files` by image, to be used in place of what stands beside it; `copies` of what stands there, and the latter;
    `unused` names others with the reason."""

    files: dict[str, Path] = field(default_factory=dict)
    copies: dict[Path, Path] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def find_corrections(
    annotations: AnnotationCache, own_files: OwnFiles, images: Collection[str], others: Sequence[str] = ()
) -> Corrections:
    """Of images that are annotated: good files in the annotate folder that came later than those beside the images.

    Args:
        own_files: MaskAL's own, which are no corrections while nobody has changed them.
        others: images that are annotated there at this time.
    """
    folder, corrections = annotations.folder, Corrections()
    found = search_annotate_folder(folder, [*images, *others], annotations.image_named_in, annotations.classes)
    for name in others:
        found.files.pop(name, None)
        found.faults.pop(name, None)
    beside, _ = find_annotations(folder, found.files, annotations) if found.files else ({}, {})
    for name in (name for name in found.files if name in beside):
        files = [path for path in found.files[name] if not own_files.is_untouched(path)]
        copies = [path for path in files if same_content(path, beside[name])]
        corrections.copies |= dict.fromkeys(copies, beside[name])
        for path in sorted(set(files) - set(copies), key=_arrived, reverse=True)[:1]:
            if reason := _why_unused(annotations, name, path, beside[name]):
                corrections.unused.append(reason)
            else:
                corrections.files[name] = path
    corrections.unused += sorted(set(found.faults.values()))
    return corrections


def _why_unused(annotations: AnnotationCache, name: str, path: Path, beside: Path) -> str:
    """Empty where it is to be used."""
    if fault := annotations.fault(path, name) or fault_of_copy(annotations.folder, name):
        return f"{fault}; until then the annotation beside the image is used"
    # Not the second time of what was collected, which is that of its move: a save may have come just before.
    if _arrived(path) < beside.stat().st_mtime_ns:
        return f"{path}: is older than {beside}, which is used; delete the one that is wrong"
    return ""


def _arrived(path: Path) -> int:
    """When the file came there or was changed, in nanoseconds; 0 where it is gone at this moment."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return max(status.st_mtime_ns, status.st_ctime_ns)


def in_words(corrections: Corrections, *, finished: bool) -> list[str]:
    """A line for each, for what only looks at a run; of one that has finished, none is used."""
    use = "the run has finished, only a further loop uses it (raise loops)" if finished else "the next loop uses it"
    saved = [f"{path}: was saved after the annotation of {name} had been collected; {use}"
             for name, path in corrections.files.items()]  # fmt: skip
    return [*saved, *corrections.unused]
