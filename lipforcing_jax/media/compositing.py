"""Putting a generated face back into its frame.

`paste_reference` is the reference's paste-back (spec inference 2.4): the 512 x 512 face, the soft mask, and a
weight from an eroded and blurred footprint. `paste_face` is ours, for faces of lower resolution than the
frame: one weight map in the face's own pixels, so that a frame costs one small warp, and the frame's own fine
detail stays wherever the generated face says the same as the frame.

All work is done inside the box that the face covers in the frame; pixels outside it are never touched.
"""

import functools
from typing import Literal

import cv2
import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from lipforcing_jax.media.alignment import CROP_HEIGHT, CROP_WIDTH, Box, frame_box, from_box, square_matrix
from lipforcing_jax.media.mouth_mask import pixel_mask, soft_mask

WeightMode = Literal["mouth", "full"]


def _warp_back(picture, matrix, box: Box, interpolation: int, outside) -> np.ndarray:
    """`picture` (in the target pixels of `matrix`) as seen in the box of the frame."""
    size = (box[2] - box[0], box[3] - box[1])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    # The map is frame to picture, which is what a warp of the picture into the frame samples by.
    return cv2.warpAffine(
        picture, from_box(matrix, box), size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
    )


# --- The reference's paste-back ---------------------------------------------------------------------------


def blend_mouth(
    generated: Float32[np.ndarray, "size size 3"], aligned: UInt8[np.ndarray, "size size 3"]
) -> Float32[np.ndarray, "size size 3"]:
    """The generated mouth region inside the aligned original, both in [0, 1] after the call (2.4 step 1)."""
    mask = soft_mask(generated.shape[0])[..., None]
    return generated * (1 - mask) + aligned.astype(np.float32) / np.float32(255) * mask


def resize_to_crop(face: Float32[np.ndarray, "size size 3"]) -> Float32[np.ndarray, "560 420 3"]:
    """Bicubic, antialiased resize to the crop's 420 x 560 pixels; the range is kept (2.4 step 2)."""
    return np.asarray(jax.image.resize(face, (CROP_HEIGHT, CROP_WIDTH, 3), method="cubic", antialias=True))


def footprint_weight(
    matrix: Float[np.ndarray, "2 3"], box: Box
) -> tuple[Float32[np.ndarray, "bh bw"], Float32[np.ndarray, "bh bw"]]:
    """The eroded footprint E and the blend weight W of the crop in the box of the frame (2.4 steps 4 and 5).

    Both in [0, 1]. The edge's width follows the footprint's area. A face too small for an edge has W = E.
    """
    ones = np.ones((CROP_HEIGHT, CROP_WIDTH), np.float32)
    footprint = _warp_back(ones, matrix, box, cv2.INTER_LINEAR, 0.0)
    footprint = cv2.erode(footprint, np.ones((2, 2), np.uint8))
    edge = int(np.sqrt(footprint.sum(dtype=np.float64))) // 20
    if edge == 0:
        return footprint, footprint
    inner = cv2.erode(footprint, np.ones((2 * edge, 2 * edge), np.uint8))
    blur = 2 * edge + 1
    return footprint, cv2.GaussianBlur(inner, (blur, blur), 0, borderType=cv2.BORDER_REFLECT_101)


def paste_reference_float(
    frame: UInt8[np.ndarray, "h w 3"],
    generated: Float32[np.ndarray, "size size 3"],
    aligned: UInt8[np.ndarray, "size size 3"],
    matrix: Float[np.ndarray, "2 3"],
    weight_mode: WeightMode = "mouth",
) -> tuple[Float32[np.ndarray, "bh bw 3"], Box]:
    """The reference's result before it is cut to 8 bits, in [0, 255], and the box of the frame it belongs to.

    Takes the generated face in [0, 1], the aligned original, and the matrix rounded to float16 (the same that
    made the crop). `full` leaves out the mouth mask.
    """
    face = blend_mouth(generated, aligned) if weight_mode == "mouth" else generated
    face = resize_to_crop(face) * np.float32(2) - np.float32(1)
    reach = np.array([0, 0, CROP_WIDTH - 1, CROP_HEIGHT - 1], np.float64)
    # The blur can't reach beyond the footprint, out of which at least as much was eroded; 2 for the samples.
    box = frame_box(matrix, reach, frame.shape, margin=2)
    region = frame[box[1] : box[3], box[0] : box[2]].astype(np.float32)
    if region.size == 0:
        return region, box
    face = _warp_back(face, matrix, box, cv2.INTER_LINEAR, (127.0,) * 3)
    face = np.clip(face / 2 + np.float32(0.5), 0, 1) * np.float32(255)
    footprint, weight = footprint_weight(matrix, box)
    weight, footprint = weight[..., None], footprint[..., None]
    return weight * (footprint * face) + (1 - weight) * region, box


def paste_reference(
    frame: UInt8[np.ndarray, "h w 3"],
    generated: Float32[np.ndarray, "size size 3"],
    aligned: UInt8[np.ndarray, "size size 3"],
    matrix: Float[np.ndarray, "2 3"],
    weight_mode: WeightMode = "mouth",
) -> UInt8[np.ndarray, "h w 3"]:
    """The reference's paste-back (spec inference 2.4), truncated, not rounded. The frame is not modified."""
    values, (left, top, right, bottom) = paste_reference_float(frame, generated, aligned, matrix, weight_mode)
    result = frame.copy()
    result[top:bottom, left:right] = values.astype(np.uint8)
    return result


# --- Ours -------------------------------------------------------------------------------------------------

_FEATHER = 6  # pixels of the 256 x 256 mask over which the mouth weight rises from its edge
_EDGE_ROOM = 60  # crop pixels around the crop, so that the reference's erosion sees its border


@functools.cache
def face_weight(size: int, weight_mode: WeightMode = "mouth") -> Float32[np.ndarray, "size size"]:
    """How much of the generated face is shown, in the face's own pixels, in [0, 1]; 0 along the borders.

    `full` is the reference's weight of a face that lies wholly inside the frame. `mouth` multiplies it by the
    mouth region, feathered inwards only: what the mask keeps is never drawn anew. Read-only.
    """
    room = _EDGE_ROOM
    _, weight = footprint_weight(np.eye(2, 3), (-room, -room, CROP_WIDTH + room, CROP_HEIGHT + room))
    weight = cv2.resize(weight[room:-room, room:-room], (size, size), interpolation=cv2.INTER_AREA)
    if weight_mode == "mouth":
        mouth = 1.0 - pixel_mask(256).astype(np.float32)
        width = 2 * _FEATHER + 1
        mouth = cv2.erode(mouth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
        mouth = cv2.GaussianBlur(mouth, (width, width), 0)
        mouth = cv2.resize(mouth, (size, size), interpolation=cv2.INTER_AREA)
        weight = weight * mouth * (1 - pixel_mask(size))
    weight[[0, -1]] = 0
    weight[:, [0, -1]] = 0
    weight.setflags(write=False)
    return weight


def match_colour(
    face: Float32[np.ndarray, "size size 3"], aligned: Float32[np.ndarray, "size size 3"]
) -> Float32[np.ndarray, "size size 3"]:
    """The generated face with the slow colour error removed that shows on the kept pixels; ranges as given.

    A generated face carries a slight tint. On the kept pixels it is known, as the difference to the original;
    into the mouth region it is continued by normalised convolution, so that no seam is left at its edge.
    """
    size = face.shape[0]
    small = max(8, size // 4)
    keep = pixel_mask(size).astype(np.float32)[..., None]
    known = np.concatenate([(aligned - face) * keep, keep], axis=2)
    known = cv2.resize(known, (small, small), interpolation=cv2.INTER_AREA)
    known = cv2.GaussianBlur(known, (0, 0), small / 10, borderType=cv2.BORDER_REFLECT)
    error = known[..., :3] / (known[..., 3:] + np.float32(1e-4))
    return face + cv2.resize(error, (size, size), interpolation=cv2.INTER_CUBIC)


def detail_share(
    face: Float32[np.ndarray, "size size 3"],
    aligned: Float32[np.ndarray, "size size 3"],
    same: float = 6.0,
    different: float = 20.0,
) -> Float32[np.ndarray, "size size"]:
    """Where the frame's own fine detail may stay, in [0, 1]; faces in [0, 255].

    1 where the generated face differs from the original by up to `same` levels (skin, beard, cheeks that did
    not move), 0 from `different` levels on (lips, teeth, all that moved: old detail there would be a ghost).
    """
    sigma = face.shape[0] / 100
    red, green, blue = cv2.split(np.abs(face - aligned))
    change = cv2.GaussianBlur(np.maximum(np.maximum(red, green), blue), (0, 0), sigma)
    share = np.clip((different - change) / (different - same), 0, 1)
    return cv2.GaussianBlur(cv2.erode(share, np.ones((3, 3), np.uint8)), (0, 0), sigma)


def paste_face(
    frame: UInt8[np.ndarray, "h w 3"],
    face: UInt8[np.ndarray, "size size 3"] | Float32[np.ndarray, "size size 3"],
    matrix: Float[np.ndarray, "2 3"],
    weight_mode: WeightMode = "mouth",
    aligned: UInt8[np.ndarray, "size size 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with the generated face (uint8, or float32 in [0, 1]) in place; the frame is not modified.

    `mouth` shows the mouth region only, `full` the whole face. With `aligned` (the original face that
    `align_face` gave for the same matrix) the slow colour error is removed first, and the frame's detail is
    kept where nothing moved, so that pasting an unchanged face returns the frame bit for bit.
    """
    size = face.shape[0]
    values = face.astype(np.float32) if face.dtype == np.uint8 else face * np.float32(255)
    weight = face_weight(size, weight_mode)
    kept = 1 - weight
    if aligned is not None:
        original = aligned.astype(np.float32)
        if weight_mode == "mouth":
            values = match_colour(values, original)
        share = weight * detail_share(values, original)
        added = weight[..., None] * values - share[..., None] * original
        kept = kept + share
    else:
        added = weight[..., None] * values
    return _add_weighted(frame, np.dstack([added, kept]), matrix, weight)


def _add_weighted(frame, layer, matrix, weight) -> UInt8[np.ndarray, "h w 3"]:
    """frame * layer's last channel + its colours, warped to the frame; only where `weight` is not 0."""
    size = layer.shape[0]
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    region = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64) + [-2, -2, 2, 2]
    target = square_matrix(matrix, size)
    box = frame_box(target, region, frame.shape, margin=1)
    left, top, right, bottom = box
    result = frame.copy()
    if right <= left or bottom <= top:
        return result
    # Bicubic to about the frame's resolution (or, for a small face, area down to it), then a bilinear warp:
    # as smooth as a bicubic warp and a third of its cost.
    scale = 1 / np.sqrt(abs(np.linalg.det(target[:, :2])))
    resized = int(min(max(np.ceil(scale), 1), 8) * size) if scale > 0.75 else max(8, int(scale * size))
    kind = cv2.INTER_CUBIC if resized > size else cv2.INTER_AREA
    layer = cv2.resize(layer, (resized, resized), interpolation=kind) if resized != size else layer
    layer = _warp_back(layer, square_matrix(matrix, resized), box, cv2.INTER_LINEAR, (0.0, 0.0, 0.0, 1.0))
    kept = cv2.cvtColor(cv2.extractChannel(layer, 3), cv2.COLOR_GRAY2BGR)
    colours = cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR)
    kept = cv2.multiply(frame[top:bottom, left:right], kept, dtype=cv2.CV_32F)
    # The sum to 8 bits is rounded and clipped, so untouched pixels (0 added, 1 kept) come back exactly.
    result[top:bottom, left:right] = cv2.add(kept, colours, dtype=cv2.CV_8U)
    return result
