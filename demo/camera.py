"""The camera that takes a scene: where it stands, and what it adds to the colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from demo.texture import fractal_noise


@dataclass(frozen=True)
class View:
    """How a scene is taken once more: shift (x, y) in picture sizes, and factors of scale and brightness."""

    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    brightness: float = 1.0

    @staticmethod
    def sample(rng: np.random.Generator) -> View:
        """A view near the first, as of a robot that stands still or a phone held on."""
        x, y = rng.uniform(-0.02, 0.02, 2)
        return View((float(x), float(y)), float(rng.uniform(0.9, 1.1)), float(rng.uniform(0.9, 1.1)))


@dataclass(frozen=True)
class Camera:
    """What the camera adds: `gain` (H, W, 3) is exposure, white balance and vignette; `blur` in pixels, 0 for none.

    `noise` (H, W, 3) is that of the sensor, of variance 1.
    """

    gain: np.ndarray
    blur: float
    noise: np.ndarray
    noise_level: float
    gamma: float

    @staticmethod
    def sample(rng: np.random.Generator, height: int, width: int) -> Camera:
        """A camera for pictures of `height` x `width` pixels."""
        warmth = rng.uniform(-0.05, 0.05)
        balance = np.array([1 + warmth, 1.0, 1 - warmth]) * rng.uniform(0.88, 1.22)
        cloud = 1 + 0.08 * fractal_noise(rng, height, width, width, 1)
        return Camera(
            gain=cloud[..., None] * balance.astype(np.float32),
            blur=float(rng.uniform(0.4, 0.9)) if rng.random() < 0.5 else 0.0,
            noise=rng.standard_normal((height, width, 3), dtype=np.float32),
            noise_level=float(rng.uniform(0.005, 0.02)),
            gamma=float(rng.uniform(0.85, 1.0)),
        )

    def again(self, rng: np.random.Generator, brightness: float) -> Camera:
        """The same camera a moment later: other noise, and another exposure."""
        noise = rng.standard_normal(self.noise.shape, dtype=np.float32)
        return replace(self, gain=self.gain * brightness, noise=noise)

    def photograph(self, drawn: np.ndarray) -> np.ndarray:
        """Scale colours (H, W, 3) of the drawn size down and take the picture: uint8 BGR."""
        height, width = self.noise.shape[:2]
        picture = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA) * self.gain
        if self.blur:
            picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
        graded = np.clip(picture + self.noise * self.noise_level, 0, 1) ** self.gamma
        return (graded[..., ::-1] * 255 + 0.5).astype(np.uint8)
