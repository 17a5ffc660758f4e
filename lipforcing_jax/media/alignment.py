"""From facial points to the aligned face: templates, similarity and crops (spec inference 2.2, 2.3).

A matrix is [2, 3] and maps a pixel (x, y) of the frame to a pixel of the reference crop, 420 wide and 560
high; pixel centres are at integers. The square face that a network sees is that crop squeezed, so it is not
isotropic.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

CROP_WIDTH, CROP_HEIGHT = 420, 560
OUTSIDE_GREY = 127.0

Box = tuple[int, int, int, int]  # left, top, right, bottom in frame pixels, right and bottom exclusive

# Image-left brow, image-right brow, nose.
REFERENCE_TEMPLATE = np.array([[95.2, 112.0], [324.8, 112.0], [210.0, 224.0]])
_LEFT_BROW = (43, 48, 49, 51, 50)
_RIGHT_BROW = (101, 102, 103, 104, 105)
_NOSE = (74, 77, 83, 86)

# Left eye, right eye, nose tip and middle of the mouth corners, as the five-point detector reports them:
# means over real talking heads whose crops were made by the reference's three points, so both rules put the
# mouth at the same place. The middle of the corners steadies the crop's height and, unlike the corners
# themselves, does not move when the mouth narrows or spreads.
FIVE_POINT_TEMPLATE = np.array([[123.0, 157.8], [294.0, 157.8], [209.5, 245.0], [207.5, 339.0]])


@dataclasses.dataclass(frozen=True)
class SmoothingState:
    """Memory of the reference's drift smoothing; `bias` is None before the first face of a clip."""

    bias: Float32[np.ndarray, "2"] | None = None


def three_points_from_106(landmarks: Float[np.ndarray, "106 2"]) -> Float64[np.ndarray, "3 2"]:
    """The reference's alignment points (brow, brow, nose) from 106 landmarks in pixels (spec inference 2.2).

    Landmarks and means are both rounded half-to-even, as the reference does.
    """
    points = np.round(np.asarray(landmarks, np.float64))
    if points.shape != (106, 2):
        raise ValueError(f"expected landmarks of shape (106, 2), got {points.shape}")
    means = [points[list(group)].mean(axis=0) for group in (_LEFT_BROW, _RIGHT_BROW, _NOSE)]
    return np.round(np.stack(means))


def alignment_points(
    points: Float[np.ndarray, "n 2"],
) -> tuple[Float64[np.ndarray, "k 2"], Float64[np.ndarray, "k 2"]]:
    """Points to align and the template they are aligned to, for a detector with 5 or with 106 landmarks."""
    if len(points) == 106:
        return three_points_from_106(points), REFERENCE_TEMPLATE
    if len(points) == 5:
        points = np.asarray(points, np.float64)
        return np.concatenate([points[:3], points[3:].mean(axis=0, keepdims=True)]), FIVE_POINT_TEMPLATE
    raise ValueError(f"no alignment template for {len(points)} landmarks")


def _similarity(points, template):
    """Matrix and the normalised point sets, float32; steps 1 to 3 of spec inference 2.3."""
    points, template = np.asarray(points, np.float32), np.asarray(template, np.float32)
    centre, target_centre = points.mean(axis=0), template.mean(axis=0)
    points, template = points - centre, template - target_centre
    spread, target_spread = points.std(ddof=1), template.std(ddof=1)
    points, template = points / spread, template / target_spread
    left, _, right = np.linalg.svd(points.T @ template)
    rotation = (left @ right).T
    if np.linalg.det(rotation) < 0:
        right[-1] *= -1
        rotation = (left @ right).T
    linear = target_spread / spread * rotation
    matrix = np.concatenate([linear, (target_centre - linear @ centre)[:, None]], axis=1)
    return matrix.astype(np.float32), points, template


def similarity(
    points: Float[np.ndarray, "k 2"], template: Float[np.ndarray, "k 2"]
) -> Float32[np.ndarray, "2 3"]:
    """Similarity (rotation, one scale, shift) that carries `points` to `template`, without smoothing.

    Centroids are matched, the scale is the ratio of the spreads and the rotation is Kabsch's.
    """
    return _similarity(points, template)[0]


def similarity_transform(
    points: Float[np.ndarray, "3 2"],
    state: SmoothingState,
    template: Float[np.ndarray, "3 2"] = REFERENCE_TEMPLATE,
) -> tuple[Float32[np.ndarray, "2 3"], SmoothingState]:
    """The reference's matrix, frame pixel -> crop pixel, with its drift smoothing (spec inference 2.3).

    The smoothed quantity is the residual of the third point in *normalised* units, so the shift that it adds
    stays below a pixel. Do not call it on frames without a face: the state must not advance there.
    """
    matrix, normalised, target = _similarity(points, template)
    bias = target[2] - normalised[2]
    if state.bias is not None:
        bias = np.float32(0.2) * state.bias + np.float32(0.8) * bias
    matrix[:, 2] += bias
    return matrix, SmoothingState(bias)


def round_to_half(matrix: Float32[np.ndarray, "2 3"]) -> Float32[np.ndarray, "2 3"]:
    """The matrix rounded to float16 values, as the reference stores it; use the same for crop and paste."""
    return np.asarray(matrix, np.float16).astype(np.float32)


def invert(matrix: Float[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """Inverse of an affine map, in float64."""
    matrix = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -(linear @ matrix[:, 2:])], axis=1)


def transform_points(
    matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "k 2"]
) -> Float64[np.ndarray, "k 2"]:
    """Points (x, y) carried through an affine map."""
    matrix = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def square_matrix(matrix: Float[np.ndarray, "2 3"], size: int) -> Float64[np.ndarray, "2 3"]:
    """The map from frame pixels to the pixels of the `size` x `size` face instead of the 420 x 560 crop.

    Resizing keeps picture borders, not pixel centres, in place; hence the half-pixel shifts.
    """
    scale = np.array([size / CROP_WIDTH, size / CROP_HEIGHT])
    squeezed = np.asarray(matrix, np.float64) * scale[:, None]
    squeezed[:, 2] += 0.5 * scale - 0.5
    return squeezed


def frame_box(
    matrix: Float[np.ndarray, "2 3"], region: Float[np.ndarray, "4"], shape: tuple[int, ...], margin: int
) -> Box:
    """The part of the frame that a region (left, top, right, bottom in target pixels) may reach."""
    left, top, right, bottom = region
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float64)
    corners = transform_points(invert(matrix), corners)
    low = np.floor(corners.min(axis=0)).astype(int) - margin
    high = np.ceil(corners.max(axis=0)).astype(int) + margin + 1
    low, high = np.maximum(low, 0), np.minimum(high, (shape[1], shape[0]))
    high = np.maximum(low, high)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def from_box(matrix: Float[np.ndarray, "2 3"], box: Box) -> Float64[np.ndarray, "2 3"]:
    """The matrix for pixels counted from the corner of a box of the frame."""
    matrix = np.array(matrix, np.float64)
    matrix[:, 2] += matrix[:, :2] @ np.array(box[:2], np.float64)
    return matrix


def crop_reference(
    frame: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "560 420 3"]:
    """The reference's crop: bilinear, 127 outside the frame, rounded to float16, then truncated (2.3 step 5).

    Give it the matrix of `round_to_half`. The half rounding shows: without it 3 to 4 % of the values differ.
    """
    crop = cv2.warpAffine(
        frame.astype(np.float32),
        np.asarray(matrix, np.float64),
        (CROP_WIDTH, CROP_HEIGHT),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(OUTSIDE_GREY,) * 3,
    )
    return crop.astype(np.float16).astype(np.uint8)


def align_face_reference(
    frame: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int = 512
) -> UInt8[np.ndarray, "size size 3"]:
    """The reference's aligned face: its crop resized by Lanczos-4, aspect not preserved (2.3 step 6)."""
    return cv2.resize(crop_reference(frame, matrix), (size, size), interpolation=cv2.INTER_LANCZOS4)


def align_face(
    frame: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The aligned face in one antialiased step, for small faces: the same square as the reference's.

    The frame is sampled near its own resolution (a whole multiple of `size`, at most 1.5 frame pixels apart)
    and then averaged by area, because a bilinear warp straight to a small size would alias. Outside the frame
    is grey 127.
    """
    target = square_matrix(matrix, size)
    frame_pixels_per_face_pixel = 1.0 / math.sqrt(abs(np.linalg.det(target[:, :2])))
    oversampling = min(max(math.ceil(frame_pixels_per_face_pixel / 1.5), 1), 8)
    face = cv2.warpAffine(
        frame,
        square_matrix(matrix, size * oversampling),
        (size * oversampling,) * 2,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(OUTSIDE_GREY,) * 3,
    )
    if oversampling == 1:
        return face
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
