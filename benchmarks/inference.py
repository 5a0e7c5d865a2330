"""Time and memory of plain inference beside torchvision's Mask R-CNN R50-FPN, in pairs in one run; random weights.

    python benchmarks/inference.py [--engine FOLDER] [--pairs N]

FOLDER holds another `detectron2` package, which is then measured instead of this repository's.
"""

from __future__ import annotations

from pairs import Call, compare

HEIGHT, WIDTH = 800, 1333
CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


def engine_inference(device: str) -> Call:
    import torch

    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    config = get_cfg()
    config.merge_from_file(model_zoo.get_config_file(CONFIG))
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = device, ""
    model = build_model(config).eval()
    image = torch.randint(0, 255, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    return torch.no_grad()(lambda: model([{"image": image, "height": HEIGHT, "width": WIDTH}]))


def torchvision_inference(device: str) -> Call:
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=HEIGHT, max_size=WIDTH)
    model = model.eval().to(device)
    image = torch.rand(3, HEIGHT, WIDTH, device=device)
    return torch.no_grad()(lambda: model([image]))


if __name__ == "__main__":
    title = f"Inference, {HEIGHT} x {WIDTH}, Mask R-CNN R50-FPN, fp32, random weights"
    compare(title, __doc__, {"engine": engine_inference, "torchvision": torchvision_inference}, 1)
