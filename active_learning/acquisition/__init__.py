"""Acquisition: the pool is scored with forward passes, a strategy chooses, and why is kept."""
