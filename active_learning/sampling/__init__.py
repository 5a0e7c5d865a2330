"""How sure the network is of an image, and which images to have annotated next."""

from active_learning.sampling.certainty import ImageCertainty, Observation, image_certainty

__all__ = ["ImageCertainty", "Observation", "image_certainty"]
