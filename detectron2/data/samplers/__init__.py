"""Which images come in which order, in one process or in many."""

from detectron2.data.samplers.distributed_sampler import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.data.samplers.grouped_batch_sampler import GroupedBatchSampler
