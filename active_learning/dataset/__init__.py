"""Image folders, the annotate folder and the COCO json files that the network trains on."""
