"""How far a drawn talker's mouth is open, read from aligned frames.

A ridge regression on small pictures of the mouth, relative to the mean picture of the source clip. It is fitted on
rendered truth of the training identities, whose opening is known, and applied alike to truth and results of others.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

MOUTH_BOX = (0.47, 0.92, 0.22, 0.78)
"""Top, bottom, left, right of the mouth and chin in the aligned face, as shares of its side."""
CELLS = 20
DARK = 0.05
"""Added to colours before their logarithm: below it, noise counts more than light."""


class OpeningEstimator(NamedTuple):
    """Weights of the regression over the picture cells, without an intercept: no difference, no opening."""

    weights: Float[np.ndarray, " features"]


def mouth_box(size: int) -> tuple[slice, slice]:
    """Rows and columns of `MOUTH_BOX` for a face of `size` pixels."""
    top, bottom, left, right = (round(size * share) for share in MOUTH_BOX)
    return slice(top, bottom), slice(left, right)


def cells(frames: UInt8[np.ndarray, "t s s 3"]) -> Float[np.ndarray, "t features"]:
    """Logarithms of lightness, red over green and red over blue of the mouth box on a `CELLS` x `CELLS` grid.

    By ratios, a mouth that opens in dark skin, under a beard or in dim light changes its cells as much as another.
    """
    rows, columns = mouth_box(frames.shape[1])
    small = np.stack([cv2.resize(f[rows, columns], (CELLS, CELLS), interpolation=cv2.INTER_AREA) for f in frames])
    colours = np.log(small.astype(np.float64) / 255 + DARK)
    red, green, blue = np.moveaxis(colours, -1, 0)
    return np.stack([colours.mean(axis=-1), red - green, red - blue], axis=1).reshape(len(frames), -1)


def features(frames: UInt8[np.ndarray, "t s s 3"], source: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "t f"]:
    """Cells relative to the source clip's mean."""
    return cells(frames) - cells(source).mean(axis=0)


def fit(clips: list[tuple[np.ndarray, np.ndarray]], ridge: float = 100.0) -> OpeningEstimator:
    """Fits on (frames, opening [t]) of rendered clips; each serves as its own source."""
    x = np.concatenate([features(frames, frames) for frames, _ in clips])
    y = np.concatenate([opening - opening.mean() for _, opening in clips])
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    return OpeningEstimator(weights)


def estimate(
    estimator: OpeningEstimator, frames: UInt8[np.ndarray, "t s s 3"], source: UInt8[np.ndarray, "n s s 3"]
) -> Float[np.ndarray, " t"]:
    """Opening of every frame minus the mean opening of the source clip, on the scale of the mouth parameter."""
    return features(frames, source) @ estimator.weights
