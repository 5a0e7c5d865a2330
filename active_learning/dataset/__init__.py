"""Image folders: names, annotations beside images, exports, near-duplicates; COCO json files and tiles made of them."""
