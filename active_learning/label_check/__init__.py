"""The label check: annotations that a network, which was never trained on them, contradicts."""
