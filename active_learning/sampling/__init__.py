"""How sure the network is of an image, and which images to have annotated next."""

from active_learning.sampling.certainty import ImageCertainty, Observation, certainty_of, image_certainty
from active_learning.sampling.observations import ForwardPasses

__all__ = ["ForwardPasses", "ImageCertainty", "Observation", "certainty_of", "image_certainty"]
