"""Short moving "dead leaves" pictures: overlapping textured shapes with the edge statistics of photographs.

An autoencoder that also sees these does not fall back on drawn faces when it meets a real one.
"""

import cv2
import numpy as np
from jaxtyping import UInt8


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth random colours plus grain of a random scale, uint8 [size, size, 3]."""
    coarse = int(rng.integers(2, 12))
    knots = rng.uniform(0, 1, (coarse, coarse, 3)).astype(np.float32)
    base = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(0, 1, 3)
    fine = cv2.resize(rng.normal(0, 1, (size // 2, size // 2, 1)).astype(np.float32), (size, size))[..., None]
    mixed = tint + rng.uniform(0.05, 0.6) * (base - 0.5) + rng.uniform(0, 0.12) * fine
    return (np.clip(mixed, 0, 1) * 255).astype(np.uint8)


def dead_leaves(rng: np.random.Generator, size: int, leaves: int = 40) -> UInt8[np.ndarray, "size size 3"]:
    """Ellipses and polygons of textures, large ones first."""
    picture = texture(rng, size)
    textures = [texture(rng, size) for _ in range(6)]
    for radius in np.sort(size * 0.35 * rng.power(0.6, leaves) + 2)[::-1]:
        mask = np.zeros((size, size), np.uint8)
        centre = rng.uniform(0, size, 2)
        if rng.random() < 0.6:
            axes = np.maximum(1, radius * rng.uniform(0.3, 1, 2)).astype(int)
            place, turn = centre.astype(int).tolist(), rng.uniform(0, 180)
            cv2.ellipse(mask, place, axes.tolist(), turn, 0, 360, 255, -1, cv2.LINE_AA)
        else:
            corners = centre + radius * rng.normal(0, 0.8, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
        alpha = mask[..., None] / 255.0
        picture = (alpha * textures[int(rng.integers(6))] + (1 - alpha) * picture).astype(np.uint8)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))


def moving_leaves(rng: np.random.Generator, frames: int, size: int) -> UInt8[np.ndarray, "t size size 3"]:
    """A dead-leaves picture under slow shift, turn and growth."""
    picture = dead_leaves(rng, size * 5 // 4)
    middle = picture.shape[0] / 2
    speed = rng.normal(0, [0.8, 0.8, 0.5, 0.004])
    clip = []
    for i in range(frames):
        matrix = cv2.getRotationMatrix2D((middle, middle), speed[2] * i, 1 + speed[3] * i)
        matrix[:, 2] += size / 2 - middle + speed[:2] * i
        clip.append(cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REFLECT))
    return np.stack(clip)
