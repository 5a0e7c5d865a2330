"""Ready-made network configurations and the weights trained with them on COCO, LVIS, Cityscapes and Pascal VOC."""

from detectron2.model_zoo.model_zoo import get, get_checkpoint_url, get_config, get_config_file
