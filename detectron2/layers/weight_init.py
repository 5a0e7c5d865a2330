"""Initial weights as Caffe2 drew them, which the published schedules were tuned on."""

from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill

__all__ = ["c2_msra_fill", "c2_xavier_fill"]
