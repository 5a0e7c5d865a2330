"""What flows between the parts of a detector: boxes, masks, batches of images, and instances that carry them."""

from detectron2.structures.boxes import *  # noqa: F403
from detectron2.structures.image_list import ImageList  # noqa: F401
from detectron2.structures.instances import Instances  # noqa: F401
from detectron2.structures.masks import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask  # noqa: F401
