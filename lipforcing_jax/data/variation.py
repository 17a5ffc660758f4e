"""Other looks of a drawn clip: mirrored, bent, tinted and textured, alike in all of its frames.

Drawing a talker takes a second, varying one a few milliseconds. What stays the same over the frames of both clips of a
pair teaches the student nothing about the mouth, and so the more of it there is, the less it can rely on any face.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

BEND = 0.014
"""Spread of the displacements, as a share of the picture's side: 1.8 pixels of 128."""
TEXTURE = 0.035
"""Largest spread of the skin's light and dark grain."""


def vary(clips: UInt8[np.ndarray, "k t s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "k t s s 3"]:
    """One random look, the same for all frames of all clips."""
    size = clips.shape[2]
    across, down = _bent_grid(size, rng)
    grain = _grain(size, rng)[..., None] * _light(size, rng)[..., None]
    tint, curve = _tint(rng), _curve(rng)
    if rng.random() < 0.5:
        across = (size - 1) - across
    varied = np.empty_like(clips)
    for place in np.ndindex(clips.shape[:2]):
        picture = cv2.remap(clips[place], across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        picture = np.clip(picture.astype(np.float32) @ tint * grain, 0, 255)
        varied[place] = cv2.LUT((picture + 0.5).astype(np.uint8), curve)
    return varied


def _smooth_field(size: int, cells: int, rng: np.random.Generator) -> Float32[np.ndarray, "s s"]:
    """Normals on a coarse grid, drawn out to the picture's size."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _bent_grid(size: int, rng: np.random.Generator):
    """Where every pixel comes from."""
    down, across = np.mgrid[:size, :size].astype(np.float32)
    return (axis + np.float32(BEND * size) * _smooth_field(size, 5, rng) for axis in (across, down))


def _grain(size: int, rng: np.random.Generator) -> Float32[np.ndarray, "s s"]:
    """Fixed texture of the skin, from pores to blotches."""
    noise = rng.standard_normal((size, size)).astype(np.float32)
    sigma = rng.uniform(0.5, 3.0)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma)
    return 1 + np.float32(TEXTURE * rng.random()) * noise / noise.std()


def _light(size: int, rng: np.random.Generator) -> Float32[np.ndarray, "s s"]:
    """Slow changes of brightness over the face."""
    return np.exp(np.float32(0.08) * _smooth_field(size, 3, rng))


def _tint(rng: np.random.Generator) -> Float32[np.ndarray, "3 3"]:
    """Saturation and white balance as a matrix on RGB rows."""
    saturation = rng.uniform(0.6, 1.35)
    grey = np.full((3, 3), 1 / 3)
    gains = np.exp(rng.normal(0, 0.07, 3) + rng.normal(0, 0.1))
    return ((saturation * np.eye(3) + (1 - saturation) * grey) * gains).astype(np.float32)


def _curve(rng: np.random.Generator) -> UInt8[np.ndarray, " 256"]:
    """Contrast, by a power."""
    return np.round(255 * (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.15))).astype(np.uint8)
