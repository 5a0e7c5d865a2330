"""Settings that were given, but have no use as another setting stands."""

from __future__ import annotations

from active_learning.settings.keys import SettingsKeys

# Of each key the setting that it needs, and the value; None: any. A folder that is kept for later is no mistake.
_NEEDS: tuple[tuple[str, str, object], ...] = (
    ("initial_train_file", "duplicate_initial_model_and_data", True),
    ("tile_overlap", "tile_size", None),
    ("minority_classes", "train_sampler", "RepeatFactorTrainingSampler"),
    ("repeat_factor_smallest_class", "train_sampler", "RepeatFactorTrainingSampler"),
    ("supervisely_meta_json", "export_format", "supervisely"),
)


def unused_settings(keys: SettingsKeys) -> list[str]:
    """A line for each key that has another value than by default, and is not used."""
    lines = []
    for key, other, needed in _NEEDS:
        given, switch = getattr(keys, key), getattr(keys, other)
        is_used = switch == needed if needed is not None else switch is not None
        if given != SettingsKeys.model_fields[key].default and not is_used:
            remedy = f"{other}: {needed}" if needed is not None else other
            lines.append(f"{key} is given, but is not used without {remedy}")
    return lines
