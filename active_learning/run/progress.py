"""How far a run has come: the table of its loops, and whether it is to stop."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from active_learning.run.state import LoopScores, RunState
from active_learning.settings import Settings


def reason_to_stop(state: RunState, settings: Settings, loops: int) -> str:
    """Empty where the run goes on; `loops` are those that are asked for."""
    reached = [row.mask_ap for row in state.history]
    target, patience = settings.target_map, settings.patience
    if state.loop >= loops:
        return f"loop {loops} of {loops} is done"
    if target is not None and reached[-1] >= target:
        return f"mAP {reached[-1]:.1f} has reached target_map {target:g}"
    if patience is not None and len(reached) > patience and max(reached[-patience:]) <= max(reached[:-patience]):
        return f"mAP has not risen for {patience} loops (patience)"
    return ""


def table_of_loops(history: Sequence[LoopScores], classes: Sequence[str]) -> str:
    """A row a loop: train size, mAP and its change, AP of each class, minutes."""
    rows = []
    for loop, scores in enumerate(history):
        change = f"{scores.mask_ap - history[loop - 1].mask_ap:+.1f}" if loop else ""
        per_class = [scores.per_class[name] for name in classes]
        numbers = [f"{number:.1f}" for number in (*per_class, scores.standard_mask_ap, scores.minutes)]
        rows.append([str(loop), str(scores.train_size), f"{scores.mask_ap:.1f}", change, *numbers])
    headers = ["loop", "train size", "mAP", "change", *classes, "mAP at 0.05", "minutes"]
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="right")
