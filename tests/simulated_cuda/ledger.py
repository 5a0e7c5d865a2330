"""What a simulated device had to do: host synchronisations and operations, by the line that caused them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
# Files of this folder: never where something comes from.
PLUMBING = tuple(f"simulated_cuda/{name}.py" for name in ("device", "ledger", "rules", "torch_cuda"))


def callers() -> Iterator[tuple[str, str]]:
    """(file, line and function) of the repository that are being executed, the innermost first."""
    frame, root = sys._getframe(1), f"{ROOT}/"
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(root) and "site-packages" not in name and not name.endswith(PLUMBING):
            yield name.removeprefix(root), f"{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back


def place() -> str:
    """The innermost line of the repository, and that of the next other file it is called from."""
    lines: dict[str, str] = {}
    for file, line in callers():
        if file not in lines and len(lines) == 2:
            break
        lines.setdefault(file, line)
    return " < ".join(f"{file}:{line}" for file, line in lines.items()) or "elsewhere"


@dataclass
class Shortage:
    """The next `times` operations with these parts in name and callers run out of memory, after `after` that do not."""

    operation: str = ""
    place: str = ""
    after: int = 0
    times: int = 1
    error: type[Exception] = torch.cuda.OutOfMemoryError
    message: str = "CUDA out of memory. Tried to allocate 2.00 GiB (simulated)"
    raised: list[str] = field(default_factory=list)

    def check(self, operation: str) -> None:
        if len(self.raised) == self.times or self.operation not in operation:
            return
        if not any(self.place in f"{file}:{line}" for file, line in callers()):
            return
        if self.after:
            self.after -= 1
            return
        self.raised.append(f"{operation} at {place()}")
        raise self.error(self.message)


class Ledger:
    """Counters of one simulated device; `reset` counts anew, `clear` also forgets all that was to happen."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.shortages: list[Shortage] = []
        self.unfinished: list[tuple[torch.Tensor, torch.Tensor]] = []  # copies to the CPU that nobody has waited for
        self.reset()

    def reset(self) -> None:
        self.waits: Counter[tuple[str, str]] = Counter()  # (place, kind) -> number
        self.starts: Counter[str] = Counter()  # place -> number

    @property
    def synchronisations(self) -> int:
        return self.waits.total()

    @property
    def operations(self) -> int:
        return self.starts.total()

    def start(self, operation: str, *, has_kernel: bool) -> None:
        for shortage in self.shortages:
            shortage.check(operation)
        if has_kernel:
            self.starts[place()] += 1

    def wait(self, kind: str, times: int = 1) -> None:
        """The processor waits for all that the device has to do."""
        self.waits[place(), kind] += times
        self.finish_copies()

    def finish_copies(self) -> None:
        for target, source in self.unfinished:
            target.copy_(source)
        self.unfinished.clear()

    def run_out_of_memory(self, operation: str = "", place: str = "", **more: object) -> Shortage:
        """See `Shortage`; what it has `raised` grows."""
        self.shortages.append(Shortage(operation, place, **more))
        return self.shortages[-1]

    def report(self, longest: int = 40) -> str:
        """The synchronisations, most frequent places first."""
        rows = [f"{number:5d}  {kind}  {where}" for (where, kind), number in self.waits.most_common(longest)]
        return "\n".join([f"{self.synchronisations} synchronisations, {self.operations} operations", *rows])
