"""Which ground truth a predicted box (an anchor, a proposal) is matched to."""

from __future__ import annotations

import torch


class Matcher:
    """Gives each prediction its best ground truth, and a label from how good that match is.

    TorchScript can compile this class: so it has no names but torch's, and raises AssertionError for what is wrong.

    Args:
        thresholds: increasing; they split the qualities into ``len(thresholds) + 1`` ranges, each closed below.
        labels: of each range: -1 ignore, 0 negative, 1 positive.
        allow_low_quality_matches: label as positive also the predictions that no other prediction beats for some ground
            truth, however low their quality.
    """

    def __init__(self, thresholds: list[float], labels: list[int], allow_low_quality_matches: bool = False) -> None:
        bounds, own_labels = list(thresholds), list(labels)
        rising = len(bounds) > 0 and bounds[0] > 0 and bounds == sorted(bounds)
        assert rising, f"IOU_THRESHOLDS {bounds} must increase from above 0"
        known = len(own_labels) == len(bounds) + 1 and all([label in [-1, 0, 1] for label in own_labels])  # noqa: C419
        assert known, f"IOU_LABELS {own_labels}: {len(bounds) + 1} values of -1, 0, 1 are needed"
        self.thresholds = [-float("inf")] + bounds + [float("inf")]
        self.labels = own_labels
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Row of each prediction's best ground truth (N,) int64, and its label (N,) int8, from qualities (M, N) >= 0.

        Without ground truth: zeros, and the label of the lowest range.
        """
        assert match_quality_matrix.dim() == 2, f"the match quality has shape {match_quality_matrix.shape}, not (M, N)"
        num_predictions = match_quality_matrix.shape[1]
        labels = match_quality_matrix.new_full((num_predictions,), self.labels[0], dtype=torch.int8)
        if match_quality_matrix.numel() == 0:
            return torch.zeros_like(labels, dtype=torch.int64), labels
        quality, matches = match_quality_matrix.max(dim=0)
        for threshold, label in zip(self.thresholds[1:-1], self.labels[1:]):  # noqa: B905
            labels.masked_fill_(quality >= threshold, label)
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(labels, match_quality_matrix)
        return matches, labels

    def set_low_quality_matches_(self, match_labels: torch.Tensor, match_quality_matrix: torch.Tensor) -> None:
        """Set to 1, in place, the labels (N,) of predictions that are best (ties too) for some ground truth."""
        best = match_quality_matrix.amax(dim=1, keepdim=True)
        match_labels.masked_fill_((match_quality_matrix == best).any(dim=0), 1)
