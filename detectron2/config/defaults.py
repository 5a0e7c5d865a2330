"""Every configuration key with its default.

Keys of parts that are out of scope here (keypoints, RetinaNet, panoptic segmentation, precomputed proposals, test-time
augmentation) stay, so that YAML files written for Detectron2 load. Boxes are (x0, y0, x1, y1) in pixels throughout.
"""

from __future__ import annotations

from typing import Any

_RPN: dict[str, Any] = {
    "HEAD_NAME": "StandardRPNHead",
    "IN_FEATURES": ["res4"],
    "BOUNDARY_THRESH": -1,  # anchors further than this outside the image are ignored in training; -1 keeps all
    "IOU_THRESHOLDS": [0.3, 0.7],  # an anchor's best IoU: below the first background, from the second foreground
    "IOU_LABELS": [0, -1, 1],  # one label an interval of IOU_THRESHOLDS; -1 is left out of the loss
    "BATCH_SIZE_PER_IMAGE": 256,  # anchors drawn for the loss
    "POSITIVE_FRACTION": 0.5,  # at most this share of them foreground
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or giou, diou, ciou
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),  # scales of dx, dy, dw, dh
    "SMOOTH_L1_BETA": 0.0,  # 0 is plain L1
    "LOSS_WEIGHT": 1.0,
    "PRE_NMS_TOPK_TRAIN": 12000,  # with FPN a limit for each level
    "PRE_NMS_TOPK_TEST": 6000,
    "POST_NMS_TOPK_TRAIN": 2000,  # a limit for each batch in training, for each image in testing
    "POST_NMS_TOPK_TEST": 1000,
    "NMS_THRESH": 0.7,
    "CONV_DIMS": [-1],  # widths of the head's convolutions; -1 is the input's width
}

_ROI_HEADS: dict[str, Any] = {
    "NAME": "Res5ROIHeads",
    "NUM_CLASSES": 80,  # foreground classes
    "IN_FEATURES": ["res4"],
    "IOU_THRESHOLDS": [0.5],
    "IOU_LABELS": [0, 1],
    "BATCH_SIZE_PER_IMAGE": 512,  # proposals drawn for the loss
    "POSITIVE_FRACTION": 0.25,
    "SCORE_THRESH_TEST": 0.05,
    "NMS_THRESH_TEST": 0.5,
    "PROPOSAL_APPEND_GT": True,  # ground-truth boxes train the heads even where the RPN misses them
}

_ROI_BOX_HEAD: dict[str, Any] = {
    "NAME": "",
    "BBOX_REG_LOSS_TYPE": "smooth_l1",
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "SMOOTH_L1_BETA": 0.0,
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,  # sampling points a bin and axis; 0 adapts to the box
    "POOLER_TYPE": "ROIAlignV2",
    "NUM_FC": 0,
    "FC_DIM": 1024,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",  # "", BN, SyncBN, FrozenBN, GN
    "CLS_AGNOSTIC_BBOX_REG": False,
    "TRAIN_ON_PRED_BOXES": False,
    "USE_FED_LOSS": False,
    "USE_SIGMOID_CE": False,
    "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
    "FED_LOSS_NUM_CLASSES": 50,
}

_ROI_MASK_HEAD: dict[str, Any] = {
    "NAME": "MaskRCNNConvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_MASK": False,
    "POOLER_TYPE": "ROIAlignV2",
}

_ROI_KEYPOINT_HEAD: dict[str, Any] = {
    "NAME": "KRCNNConvDeconvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "CONV_DIMS": (512,) * 8,
    "NUM_KEYPOINTS": 17,
    "MIN_KEYPOINTS_PER_IMAGE": 1,
    "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
    "LOSS_WEIGHT": 1.0,
    "POOLER_TYPE": "ROIAlignV2",
}

_SEM_SEG_HEAD: dict[str, Any] = {
    "NAME": "SemSegFPNHead",
    "IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "IGNORE_VALUE": 255,
    "NUM_CLASSES": 54,
    "CONVS_DIM": 128,
    "COMMON_STRIDE": 4,
    "NORM": "GN",
    "LOSS_WEIGHT": 1.0,
}

_PANOPTIC_FPN: dict[str, Any] = {
    "INSTANCE_LOSS_WEIGHT": 1.0,
    "COMBINE": {
        "ENABLED": True,
        "OVERLAP_THRESH": 0.5,
        "STUFF_AREA_LIMIT": 4096,
        "INSTANCES_CONFIDENCE_THRESH": 0.5,
    },
}

_RETINANET: dict[str, Any] = {
    "NUM_CLASSES": 80,
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "NUM_CONVS": 4,
    "IOU_THRESHOLDS": [0.4, 0.5],
    "IOU_LABELS": [0, -1, 1],
    "PRIOR_PROB": 0.01,
    "SCORE_THRESH_TEST": 0.05,
    "TOPK_CANDIDATES_TEST": 1000,
    "NMS_THRESH_TEST": 0.5,
    "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
    "FOCAL_LOSS_GAMMA": 2.0,
    "FOCAL_LOSS_ALPHA": 0.25,
    "SMOOTH_L1_LOSS_BETA": 0.1,
    "BBOX_REG_LOSS_TYPE": "smooth_l1",
    "NORM": "",
}

_RESNETS: dict[str, Any] = {
    "DEPTH": 50,  # 18, 34, 50, 101, 152
    "OUT_FEATURES": ["res4"],
    "NUM_GROUPS": 1,  # above 1 it is a ResNeXt
    "NORM": "FrozenBN",
    "WIDTH_PER_GROUP": 64,
    "STRIDE_IN_1X1": True,  # True for the MSRA weights, False for torchvision's and ResNeXt's
    "RES5_DILATION": 1,  # 2 gives the DC5 networks
    "RES2_OUT_CHANNELS": 256,  # 64 for depths 18 and 34
    "STEM_OUT_CHANNELS": 64,
    "DEFORM_ON_PER_STAGE": [False, False, False, False],
    "DEFORM_MODULATED": False,
    "DEFORM_NUM_GROUPS": 1,
}

_MODEL: dict[str, Any] = {
    "LOAD_PROPOSALS": False,
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "DEVICE": "cuda",
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "WEIGHTS": "",  # path or address of the initial weights; "" is random
    "PIXEL_MEAN": [103.53, 116.28, 123.675],  # in the channel order of INPUT.FORMAT
    "PIXEL_STD": [1.0, 1.0, 1.0],  # 1 where the weights' first convolution holds the scale already
    "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},  # stages frozen: 0 none, 1 the stem, 2 also res2
    "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
    "PROPOSAL_GENERATOR": {"NAME": "RPN", "MIN_SIZE": 0},  # smallest proposal side in pixels
    "ANCHOR_GENERATOR": {
        "NAME": "DefaultAnchorGenerator",
        "SIZES": [[32, 64, 128, 256, 512]],  # sides in pixels: one list a feature map, or one for all
        "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],  # height / width
        "ANGLES": [[-90, 0, 90]],
        "OFFSET": 0.0,  # of the first anchor's centre, as a fraction of the stride
    },
    "RPN": _RPN,
    "ROI_HEADS": _ROI_HEADS,
    "ROI_BOX_HEAD": _ROI_BOX_HEAD,
    "ROI_BOX_CASCADE_HEAD": {
        "BBOX_REG_WEIGHTS": ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0)),
        "IOUS": (0.5, 0.6, 0.7),  # foreground threshold of each stage
    },
    "ROI_MASK_HEAD": _ROI_MASK_HEAD,
    "ROI_KEYPOINT_HEAD": _ROI_KEYPOINT_HEAD,
    "SEM_SEG_HEAD": _SEM_SEG_HEAD,
    "PANOPTIC_FPN": _PANOPTIC_FPN,
    "RETINANET": _RETINANET,
    "RESNETS": _RESNETS,
}

_INPUT: dict[str, Any] = {
    "MIN_SIZE_TRAIN": (800,),  # shorter side in pixels
    "MIN_SIZE_TRAIN_SAMPLING": "choice",  # one of the sizes, or "range" between two
    "MAX_SIZE_TRAIN": 1333,
    "MIN_SIZE_TEST": 800,  # 0 leaves test images as they are
    "MAX_SIZE_TEST": 1333,
    "RANDOM_FLIP": "horizontal",  # or vertical, none
    "CROP": {"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]},
    "FORMAT": "BGR",
    "MASK_FORMAT": "polygon",  # or bitmask
}

_DATASETS: dict[str, Any] = {
    "TRAIN": (),
    "PROPOSAL_FILES_TRAIN": (),
    "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
    "TEST": (),
    "PROPOSAL_FILES_TEST": (),
    "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
}

_DATALOADER: dict[str, Any] = {
    "NUM_WORKERS": 4,
    "ASPECT_RATIO_GROUPING": True,  # portrait and landscape images in separate batches: less padding
    "SAMPLER_TRAIN": "TrainingSampler",
    "REPEAT_THRESHOLD": 0.0,  # classes in a smaller share of the images are repeated (RepeatFactorTrainingSampler)
    "REPEAT_SQRT": True,
    "FILTER_EMPTY_ANNOTATIONS": True,
}

_SOLVER: dict[str, Any] = {
    "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "MAX_ITER": 40000,
    "BASE_LR": 0.001,
    "BASE_LR_END": 0.0,  # where the cosine schedule ends
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 0.0001,
    "WEIGHT_DECAY_NORM": 0.0,
    "GAMMA": 0.1,  # factor at each of STEPS
    "STEPS": (30000,),
    "NUM_DECAYS": 3,  # of WarmupStepWithFixedGammaLR
    "WARMUP_FACTOR": 0.001,
    "WARMUP_ITERS": 1000,
    "WARMUP_METHOD": "linear",  # or constant
    "RESCALE_INTERVAL": False,  # True squeezes the schedule into what is left after the warm-up
    "CHECKPOINT_PERIOD": 5000,
    "IMS_PER_BATCH": 16,  # over all processes
    "REFERENCE_WORLD_SIZE": 0,  # above 0: the schedule is scaled from this number of processes to the real one
    "BIAS_LR_FACTOR": 1.0,
    "WEIGHT_DECAY_BIAS": None,  # None is WEIGHT_DECAY
    "CLIP_GRADIENTS": {
        "ENABLED": False,
        "CLIP_TYPE": "value",  # or norm (each parameter by itself), full_model (one norm over all)
        "CLIP_VALUE": 1.0,
        "NORM_TYPE": 2.0,
    },
    "AMP": {"ENABLED": False},
}

_TEST: dict[str, Any] = {
    "EXPECTED_RESULTS": [],  # [task, metric, value, tolerance], checked by verify_results
    "EVAL_PERIOD": 0,  # iterations; 0 is only at the end
    "KEYPOINT_OKS_SIGMAS": [],
    "DETECTIONS_PER_IMAGE": 100,
    "AUG": {
        "ENABLED": False,
        "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
        "MAX_SIZE": 4000,
        "FLIP": True,
    },
    "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
}

DEFAULTS: dict[str, Any] = {
    "VERSION": 2,
    "MODEL": _MODEL,
    "INPUT": _INPUT,
    "DATASETS": _DATASETS,
    "DATALOADER": _DATALOADER,
    "SOLVER": _SOLVER,
    "TEST": _TEST,
    "OUTPUT_DIR": "./output",
    "SEED": -1,  # negative: not reproducible
    "CUDNN_BENCHMARK": False,
    "FLOAT32_PRECISION": "",  # "", highest, high, medium: see torch.set_float32_matmul_precision
    "VIS_PERIOD": 0,
    "GLOBAL": {"HACK": 1.0},
}
