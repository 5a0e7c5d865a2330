"""The settings of a run: each key, the file they stand in, and what may change while a run goes on."""

from active_learning.settings.settings import Experiment, Settings, load_settings

__all__ = ["Experiment", "Settings", "load_settings"]
