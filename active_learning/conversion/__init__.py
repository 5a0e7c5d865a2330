"""Annotations of one tool to another: `python -m active_learning.annotations convert`."""
