"""How long a person and the computer waited for each other. Moments are seconds since 1970: they outlast the program.

Clocks are put back and forward: what would be less than nothing counts as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_learning.run.recorded import Number


@dataclass
class BatchTimes:
    """Of the images that a loop adds; 0 for a moment that has not come.

    Attributes:
        before: the person had handed in the images of the loop before.
        put: those that needed a person lay in the annotate folder.
        needed: the computer has waited since then.
        handed_in: the person had annotated the last, or confirmed.
        person_minutes: waited by the person for these images to be put.
        computer_minutes: waited by the computer for these images to be handed in.
    """

    before: Number = 0.0
    put: Number = 0.0
    needed: Number = 0.0
    handed_in: Number = 0.0
    person_minutes: Number = 0.0
    computer_minutes: Number = 0.0

    def note_put(self, now: float) -> None:
        """At the first time the person's waiting ends."""
        if self.put:
            return
        self.put = now
        if self.before:
            self.person_minutes = minutes(self.before, now)

    def begin_waiting(self, now: float) -> None:
        self.needed = self.needed or now

    def end_waiting(self, now: float) -> bool:
        """Whether the computer was waiting."""
        waited = self.needed > 0
        if waited:
            self.computer_minutes += minutes(self.needed, now)
            self.needed = 0.0
        return waited

    def note_handed_in(self, saved: float, now: float) -> None:
        """`saved` is when the last annotation was saved or confirmed; files may bear any time."""
        self.handed_in = min(max(saved, self.put), now) if self.put else 0.0


def minutes(start: float, end: float) -> float:
    return max(end - start, 0.0) / 60
