"""Data sets by name, mapped to what the network takes, in loaders."""

from detectron2.data import datasets, detection_utils, samplers, transforms  # noqa: F401
from detectron2.data.build import *  # noqa: F403
from detectron2.data.catalog import *  # noqa: F403
from detectron2.data.common import *  # noqa: F403
from detectron2.data.dataset_mapper import DatasetMapper  # noqa: F401
