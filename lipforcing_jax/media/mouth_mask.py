"""The mouth mask: the part of the aligned face that is drawn anew, in three forms (spec inference 2.5).

Convention everywhere: 1 = keep, 0 = regenerate. The mask is stored as column spans per row of a 256 x 256
picture, so the package needs no image file.
"""

import functools
import json
from importlib import resources

import cv2
import jax
import numpy as np
from jaxtyping import Bool, Float32, UInt8

SOURCE_SIZE = 256
LIPS = (0.56, 0.75, 0.31, 0.69)
"""First and last row and column that lips cross as they move, as shares of the aligned face."""


@functools.cache
def _source_mask() -> UInt8[np.ndarray, "256 256"]:
    rows = json.loads(resources.files(__package__).joinpath("mouth_mask_rows.json").read_text())["rows"]
    mask = np.ones((SOURCE_SIZE, SOURCE_SIZE), np.uint8)
    for row, spans in rows.items():
        for start, end in spans:
            mask[int(row), start:end] = 0
    mask.setflags(write=False)
    return mask


def pixel_mask(size: int) -> UInt8[np.ndarray, "size size"]:
    """Binary mask of the aligned face: OpenCV bilinear, then > 0.5; 1 = keep."""
    mask = _source_mask().astype(np.float32)
    if size != SOURCE_SIZE:
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)
    return (mask > 0.5).astype(np.uint8)


def latent_mask(size: int) -> UInt8[np.ndarray, "size size"]:
    """Binary mask of the latent grid: bilinear, half-pixel centres, no antialiasing, then > 0.5; 1 = keep.

    This is deliberately not `pixel_mask` reduced: the rule samples only the centre of each cell.
    """
    mask = jax.image.resize(_source_mask().astype(np.float32), (size, size), method="linear", antialias=False)
    return (np.asarray(mask) > 0.5).astype(np.uint8)


def soft_mask(size: int) -> Float32[np.ndarray, "size size"]:
    """Mask with soft edges for the mouth-only blend: Lanczos-4 on 8 bits, / 255; in [0, 1], 1 = keep."""
    mask = _source_mask() * np.uint8(255)
    if size != SOURCE_SIZE:
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LANCZOS4)
    return mask.astype(np.float32) / np.float32(255)


def lips_cells(size: int) -> Bool[np.ndarray, "size size"]:
    """Cells of a grid over the aligned face whose centres lie where lips move."""
    place = (np.arange(size) + 0.5) / size
    top, bottom, left, right = LIPS
    return ((place > top) & (place < bottom))[:, None] & ((place > left) & (place < right))
