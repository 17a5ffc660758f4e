"""Frames of a talker in the aligned crop, or in a wider scene: warp, eyes, glasses, mouth, camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from lipforcing_jax.data import mouth_drawing
from lipforcing_jax.data.camera import Camera, clean_camera, expose, make_sensor
from lipforcing_jax.data.eye_drawing import paint_eye
from lipforcing_jax.data.motion import Motion
from lipforcing_jax.data.noise import smoothstep
from lipforcing_jax.data.portrait import CROP, Portrait

_NODES = 40
"""The head pose is solved on a grid of this many cells a side and interpolated between."""
_ANCHORS = np.array([[-0.27333, 0.26667], [0.27333, 0.26667], [0.0, 0.53333]], np.float32)
"""Brows and nose of the alignment template (spec inference 2.2) in face units."""
_PIVOT_Y = 0.55


@dataclass(frozen=True)
class View:
    """The rectangle of face units that a picture shows, its size in pixels and whether the head is kept
    aligned.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int
    aligned: bool


def aligned_view(size: int) -> View:
    """The aligned crop, squeezed to a square of `size` pixels."""
    return View(*CROP, width=size, height=size, aligned=True)


def _rotate(points: np.ndarray, depth: np.ndarray, yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Orthographic projection of points (n, 2) at `depth` on a turned head."""
    x, y = points[:, 0], points[:, 1] - _PIVOT_Y
    turned = np.cos(yaw) * x + np.sin(yaw) * depth
    deep = np.cos(yaw) * depth - np.sin(yaw) * x
    return turned, np.cos(pitch) * y + np.sin(pitch) * deep + _PIVOT_Y


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity (2x3) of spec inference 2.3 from three source to three target points."""
    p, q = source - source.mean(axis=0), target - target.mean(axis=0)
    z = np.sum((p[:, 0] - 1j * p[:, 1]) * (q[:, 0] + 1j * q[:, 1]))
    turn = z / abs(z) * np.sqrt((q**2).sum() / (p**2).sum())
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.concatenate([linear, (target.mean(axis=0) - linear @ source.mean(axis=0))[:, None]], axis=1)


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return (np.vstack([outer, [0, 0, 1]]) @ np.vstack([inner, [0, 0, 1]]))[:2]


def _invert(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def _placement(portrait: Portrait, motion: Motion, frame: int, view: View) -> tuple[float, float, np.ndarray]:
    """Yaw, pitch and the similarity from the turned head's plane to the picture's face units."""
    yaw = float(portrait.identity.yaw + motion.yaw[frame])
    pitch = float(portrait.identity.pitch + motion.pitch[frame])
    depth = np.array([_height_at(portrait, x, y) for x, y in _ANCHORS])
    x, y = _rotate(_ANCHORS, depth, yaw, pitch)
    turned = np.stack([x, y], axis=1)
    if view.aligned:
        fit = _similarity(turned, _ANCHORS)
        angle, scale = float(motion.jitter_roll[frame]), 1.0 + float(motion.jitter_scale[frame])
        shift = (float(motion.jitter_x[frame]), float(motion.jitter_y[frame]))
    else:
        fit = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        angle, scale = float(motion.roll[frame]), 1.0
        shift = (float(motion.shift_x[frame]), float(motion.shift_y[frame]))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    centre = np.array([0.0, _PIVOT_Y])
    linear = np.array([[c, -s], [s, c]])
    extra = np.concatenate([linear, (centre - linear @ centre + np.array(shift))[:, None]], axis=1)
    return yaw, pitch, _compose(extra, fit)


def _height_at(portrait: Portrait, x: float, y: float) -> float:
    column = int((x - portrait.left) * portrait.pixels_per_unit / 4)
    row = int((y - portrait.top) * portrait.pixels_per_unit / 4)
    return float(portrait.height[row, column])


def _solve_pose(
    portrait: Portrait, motion: Motion, frame: int, view: View
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], np.ndarray]:
    """Expression-space position seen at each pixel, and the similarity that placed the head.

    The head is a height field, so the position is a fixed point: start from the flat one and correct three
    times.
    """
    yaw, pitch, placed = _placement(portrait, motion, frame, view)
    back = _invert(placed)
    cells = np.arange(-1, _NODES + 1, dtype=np.float64) + 0.5
    u, v = np.meshgrid(
        view.left + cells / _NODES * (view.right - view.left),
        view.top + cells / _NODES * (view.bottom - view.top),
    )
    px = back[0, 0] * u + back[0, 1] * v + back[0, 2]
    py = back[1, 0] * u + back[1, 1] * v + back[1, 2] - _PIVOT_Y
    quarter = portrait.pixels_per_unit / 4
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    x, y = px, py
    for _ in range(3):
        column = ((x - portrait.left) * quarter - 0.5 + 0.125).astype(np.float32)
        row = ((y + _PIVOT_Y - portrait.top) * quarter - 0.5 + 0.125).astype(np.float32)
        depth = cv2.remap(portrait.height, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        x = (px - sy * depth) / cy
        y = (py - sp * (cy * depth - sy * x)) / cp
    # Pixel centre i sits at node (i + 0.5) / size * cells + 0.5 (the grid overhangs by one cell).
    sample = np.array(
        [
            [_NODES / view.width, 0, 0.5 * _NODES / view.width + 0.5],
            [0, _NODES / view.height, 0.5 * _NODES / view.height + 0.5],
        ]
    )
    both = np.stack([x, y + _PIVOT_Y], axis=-1).astype(np.float32)
    full = cv2.warpAffine(
        both, sample, (view.width, view.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.ascontiguousarray(full[..., 0]), np.ascontiguousarray(full[..., 1]), placed


def _sample(portrait: Portrait, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scale = np.float32(portrait.pixels_per_unit)
    column = (x - np.float32(portrait.left)) * scale - np.float32(0.5)
    row = (y - np.float32(portrait.top)) * scale - np.float32(0.5)
    return cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _background(portrait: Portrait, placed: np.ndarray, motion: Motion, frame: int, view: View) -> np.ndarray:
    """The background stands still in the scene; in the aligned crop it moves against the head."""
    to_units = np.array(
        [
            [
                (view.right - view.left) / view.width,
                0,
                view.left + 0.5 * (view.right - view.left) / view.width,
            ],
            [
                0,
                (view.bottom - view.top) / view.height,
                view.top + 0.5 * (view.bottom - view.top) / view.height,
            ],
        ]
    )
    scale = portrait.pixels_per_unit
    to_pixels = np.array([[scale, 0, -portrait.left * scale - 0.5], [0, scale, -portrait.top * scale - 0.5]])
    if view.aligned:
        roll = float(motion.roll[frame])
        c, s = np.cos(roll), np.sin(roll)
        turn = np.array(
            [[c, -s, 0.5 * float(motion.shift_x[frame])], [s, c, 0.5 * float(motion.shift_y[frame])]]
        )
        to_units = _compose(_compose(turn, _invert(placed)), to_units)
    return cv2.warpAffine(
        portrait.background,
        _compose(to_pixels, to_units),
        (view.width, view.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


def _lower_face(
    portrait: Portrait,
    pose: mouth_drawing.MouthPose,
    x: np.ndarray,
    y: np.ndarray,
    pixel: float,
    blur: float,
) -> np.ndarray:
    """RGB and coverage of the rows that the mouth may change."""
    identity = portrait.identity
    field = mouth_drawing.mouth_field(identity, pose, x, y)
    above = _sample(portrait, portrait.head, field.x, field.y_upper)
    below = _sample(portrait, portrait.head, field.x, field.y_lower)
    middle = 0.5 * (field.top + field.bottom)
    share = np.clip((y - middle) / np.float32(pixel) + 0.5, 0, 1)[..., None]
    face = above + share * (below - above)
    cover = mouth_drawing.opening_coverage(field, y, 0.6 * pixel + blur)
    face[..., :3] *= mouth_drawing.wet_rim(field, pose, y)
    if pose.spread > 0:
        folds = _sample(portrait, portrait.folds, field.x, np.minimum(field.y_upper, y))
        strength = np.float32(0.16 * pose.spread * (0.4 + portrait.identity.shape.fold))
        face[..., :3] *= (
            1 - strength * (folds * smoothstep(0.6, 0.66, y) * smoothstep(1.0, 0.9, y))[..., None]
        )
    inside = np.nonzero(cover > 0)
    if len(inside[0]):
        color = mouth_drawing.paint_cavity(
            identity, pose, portrait.mouth_colors, x[inside], y[inside], field.top[inside],
            field.bottom[inside], field.r[inside], pixel,
        )  # fmt: skip
        weight = cover[inside][:, None]
        face[inside[0], inside[1], :3] += weight * (color.astype(np.float32) - face[inside[0], inside[1], :3])
    return face


def _paint_eyes(
    portrait: Portrait,
    head: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    motion: Motion,
    frame: int,
    pixel: float,
) -> None:
    """Draws both eyes into `head` in place, each in the box of pixels that can show it."""
    identity = portrait.identity
    for right in (False, True):
        centre = identity.shape.eye_x * (1 if right else -1)
        near = (np.abs(x - np.float32(centre)) < 1.2 * identity.eyes.width) & (
            np.abs(y - np.float32(identity.shape.eye_y)) < 0.08
        )
        rows, columns = np.nonzero(near.any(axis=1))[0], np.nonzero(near.any(axis=0))[0]
        if not len(rows):
            continue
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        face = head[box][..., :3]
        drawn = paint_eye(
            identity, portrait.eye_colors, face, x[box], y[box], right, float(motion.blink[frame]),
            (float(motion.gaze_x[frame]), float(motion.gaze_y[frame])), pixel,
        )  # fmt: skip
        head[box[0], box[1], :3] = drawn


@dataclass(frozen=True)
class Still:
    """What every mouth track shares of one frame: positions, the head with eyes, background and glasses.

    `start` is the first row that a mouth may change.
    """

    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    head: Float32[np.ndarray, "h w 4"]
    behind: Float32[np.ndarray, "h w 3"]
    glasses: Float32[np.ndarray, "h w 4"] | None
    start: int


def render_still(portrait: Portrait, motion: Motion, frame: int, view: View) -> Still:
    """Everything of a frame but the mouth."""
    x, y, placed = _solve_pose(portrait, motion, frame, view)
    lift = np.float32(0.016 * float(motion.brow[frame]))
    raised = y + lift * smoothstep(0.335, 0.28, y) * smoothstep(0.0, 0.15, y)
    head = _sample(portrait, portrait.head, x, raised)
    _paint_eyes(portrait, head, x, y, motion, frame, (view.bottom - view.top) / view.height)
    behind = _background(portrait, placed, motion, frame, view)
    glasses = None if portrait.glasses is None else _sample(portrait, portrait.glasses, x, y)
    return Still(x, y, head, behind, glasses, int(np.argmax((y > mouth_drawing.TOP).any(axis=1))))


def render_mouth(
    portrait: Portrait, still: Still, mouth: Float32[np.ndarray, " 6"], view: View, blur: float = 0.0
) -> Float32[np.ndarray, "h w 3"]:
    """The picture before the camera, display-referred RGB; `blur` (face units) softens a fast mouth."""
    rows = slice(still.start, None)
    x, y = still.x[rows], still.y[rows]
    pose = mouth_drawing.mouth_pose(portrait.identity, mouth)
    moved = _lower_face(portrait, pose, x, y, (view.bottom - view.top) / view.height, blur)
    head = still.head.copy()
    head[rows] = np.where((y > mouth_drawing.TOP)[..., None], moved, head[rows])
    picture = still.behind + head[..., 3:] * (head[..., :3] - still.behind)
    if still.glasses is not None:
        picture = picture + still.glasses[..., 3:] * (still.glasses[..., :3] - picture)
    return picture


def _smear(picture: np.ndarray, motion: Motion, frame: int, view: View) -> np.ndarray:
    """Motion blur of quick movements of the whole head."""
    across = float(motion.smear_x[frame]) * view.width / (view.right - view.left)
    along = float(motion.smear_y[frame]) * view.height / (view.bottom - view.top)
    if max(across, along) < 0.25:
        return picture
    return cv2.GaussianBlur(picture, (0, 0), max(across, 0.05), sigmaY=max(along, 0.05))


def render_tracks(
    portrait: Portrait,
    mouths: Float32[np.ndarray, "k t 6"],
    motion: Motion,
    camera: Camera | None = None,
    view: View | None = None,
) -> UInt8[np.ndarray, "k t h w 3"]:
    """Renders one talker with several mouth tracks; all else is shared, so this is cheaper than one by one.

    Args:
      portrait: from `prepare`, painted for the view's size.
      mouths: jaw, opening, width, rounding, teeth, tongue in [0, 1] per track and frame.
      motion: at least as many frames as a track.
      camera: picture quality; None adds nothing.
      view: what to show; None is the aligned crop at the size of the portrait.

    Returns:
      RGB frames. Two mouth tracks give identical pixels outside the lower face.
    """
    if mouths.ndim != 3 or mouths.shape[2] != 6:
        raise ValueError(f"mouth tracks must be [t, 6], got {mouths.shape[1:]}")
    if motion.frames < mouths.shape[1]:
        raise ValueError(f"motion has {motion.frames} frames, mouth {mouths.shape[1]}")
    view = view or aligned_view(int(round(portrait.pixels_per_unit / 1.25)))
    scale = portrait.pixels_per_unit / 160.0
    sensor = make_sensor(camera or clean_camera(), view.height, view.width, scale)
    frames = np.empty((*mouths.shape[:2], view.height, view.width, 3), np.uint8)
    gap = portrait.identity.articulation.gap
    for index in range(mouths.shape[1]):
        still = render_still(portrait, motion, index, view)
        light = float(motion.light[index])
        for track, mouth in enumerate(mouths):
            change = float(abs(mouth[index, 1] - mouth[max(index - 1, 0), 1]))
            picture = render_mouth(portrait, still, mouth[index], view, 0.1 * change * gap)
            frames[track, index] = expose(sensor, _smear(picture, motion, index, view), index, light)
    return frames


def render(
    portrait: Portrait,
    mouth: Float32[np.ndarray, "t 6"],
    motion: Motion,
    camera: Camera | None = None,
    view: View | None = None,
) -> UInt8[np.ndarray, "t h w 3"]:
    """Renders a clip: `render_tracks` with one track."""
    return render_tracks(portrait, mouth[None], motion, camera, view)[0]
