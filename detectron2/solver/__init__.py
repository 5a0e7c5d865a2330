"""Optimizers and learning-rate schedules, built from the SOLVER part of a configuration."""

from detectron2.solver.build import *
from detectron2.solver.lr_scheduler import *
