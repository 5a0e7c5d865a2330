"""Optimizers and learning-rate schedules, built from the SOLVER part of a configuration."""
# ruff: noqa: F403 (each module's __all__ lists what is public)

from detectron2.solver.build import *
from detectron2.solver.lr_scheduler import *
