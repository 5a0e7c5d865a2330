"""Box regression losses on corner boxes, both as (boxes1, boxes2, reduction="none", eps=1e-7).

`diou_loss` adds the centres' distance to 1 - IoU, `ciou_loss` also the difference of aspect ratios
(Zheng et al. 2020, "Distance-IoU Loss", eq. 7 and 10). Boxes are Nx4, (x0, y0, x1, y1) in pixels.
"""

from torchvision.ops import complete_box_iou_loss as ciou_loss
from torchvision.ops import distance_box_iou_loss as diou_loss

__all__ = ["ciou_loss", "diou_loss"]
