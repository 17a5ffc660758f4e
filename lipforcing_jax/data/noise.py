"""Seeded random textures that live in face units, so that every picture size shows the same skin."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

SPAN = 3.6
"""Side of the square, centred on (0, 0.65), on which textures are defined (face units)."""
_CENTRE = (0.0, 0.65)


def smoothstep(low: float | np.ndarray, high: float | np.ndarray, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, with a cubic between; `low` > `high` gives the falling step."""
    ratio = (value - low) * (1.0 / (high - low))
    np.maximum(ratio, 0.0, out=ratio)
    np.minimum(ratio, 1.0, out=ratio)
    cubic = 3.0 - 2.0 * ratio
    cubic *= ratio
    cubic *= ratio
    return cubic


def value_noise(
    key: tuple[int, ...],
    x: Float32[np.ndarray, "h w"],
    y: Float32[np.ndarray, "h w"],
    cells: float | tuple[float, float],
) -> Float32[np.ndarray, "h w"]:
    """Smooth noise of about unit variance with `cells` lattice points per face unit (along x, along y)."""
    along_x, along_y = cells if isinstance(cells, tuple) else (cells, cells)
    shape = (int(np.ceil(SPAN * along_y)) + 3, int(np.ceil(SPAN * along_x)) + 3)
    lattice = np.random.default_rng(list(key)).standard_normal(shape, dtype=np.float32)
    column = (x - _CENTRE[0] + SPAN / 2) * along_x + 1
    row = (y - _CENTRE[1] + SPAN / 2) * along_y + 1
    # Interpolation between lattice points lowers the variance; 1.5 restores it about.
    return 1.5 * cv2.remap(
        lattice,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )


def fractal_noise(
    key: tuple[int, ...],
    x: Float32[np.ndarray, "h w"],
    y: Float32[np.ndarray, "h w"],
    cells: float,
    octaves: int,
    roughness: float = 0.55,
) -> Float32[np.ndarray, "h w"]:
    """Sum of `octaves` value noises, each twice as fine and `roughness` times as strong; unit variance
    about.
    """
    total = np.zeros_like(x)
    power = 0.0
    for octave in range(octaves):
        weight = roughness**octave
        total += weight * value_noise((*key, octave), x, y, cells * 2.0**octave)
        power += weight * weight
    return total / np.float32(np.sqrt(power))
