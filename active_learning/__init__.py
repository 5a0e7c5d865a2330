"""MaskAL: active learning for Mask R-CNN. Only the images that teach the network something are annotated."""
