"""Following one face through a clip, frame by frame: causal, constant memory, explicit state.

Two methods. `flow` (for the five-point detector): between key frames the face is carried on by sparse optical
flow of its upper, rigid half, seen in the aligned crop; on key frames the detector measures it again at its
known place, and the difference is worked off slowly. Flow is smooth but drifts, the detector jitters but does
not drift; together they do neither. Where they differ by much, the detector is asked again soon. `every_frame`
is the reference's rule: a detection in each frame and the reference's smoothing (spec inference 2.3), with our
selection by overlap in place of the largest face.

A gap of up to `max_bridge` frames is bridged; in a longer one, and after a scene cut, the face is missing.
"""

import dataclasses
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from lipforcing_jax.media import alignment
from lipforcing_jax.media.faces import Face, FaceDetector, overlap

Status = Literal["detected", "bridged", "missing"]

# The face in the 420 x 560 crop: left, top, right, bottom of the box that the detector is shown again.
_FACE_BOX = np.array([49.0, 5.0, 369.0, 425.0])
# The flow is computed on this part of the crop (rows 0 to 360), at half size; the mouth is below it.
_PATCH_SCALE, _PATCH_WIDTH, _PATCH_HEIGHT = 0.5, 210, 180
# Features are taken from here (patch rows and columns): brows, eyes, nose. Cheeks move with the mouth.
_FEATURE_ROWS, _FEATURE_COLUMNS = slice(24, 124), slice(28, 182)
_IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
    """Numbers of the tracker; frames are at 25 per second."""

    method: Literal["flow", "every_frame"] = "flow"
    face_index: int = 0  # at the start and after cuts: 0 is the largest face
    max_bridge: int = 12  # longest gap in frames that is bridged, half a second
    key_every: int = 6  # frames between two measurements by the detector
    doubt: float = 0.02  # a measurement off by more than this share of the crop's width is repeated in
    key_in_doubt: int = 2  # so many frames: the flow has lost its hold, as when a head turns fast
    search_every: int = 5  # frames between two searches of the whole frame while the face is missing
    measured_weight: float = 0.3  # of a new measurement in the running drift estimate
    correction_rate: float = 0.2  # share of the drift estimate that is worked off in each frame
    jump: float = 0.15  # drift beyond this share of the crop's width is corrected at once
    min_overlap: float = 0.1  # of a detection with the face's last box, to be the same face
    min_features: int = 10  # flow features that must agree
    min_agreement: float = 0.25  # share of the features that must agree
    min_likeness: float = 0.5  # correlation of the face with itself one frame earlier
    cut_likeness: float = 0.7  # correlation of whole frames below which a lost face means a cut


@dataclasses.dataclass(frozen=True)
class TrackedFace:
    """The face in one frame.

    `matrix` [2, 3] maps frame pixels to the 420 x 560 crop and is None when the status is `missing`: such a
    frame is to be passed through. `detected` means seen in this frame (by flow or detector), `bridged` means
    carried over a short gap.
    """

    status: Status
    matrix: Float64[np.ndarray, "2 3"] | None


@dataclasses.dataclass(frozen=True)
class TrackingState:
    """What is remembered between frames. `TrackingState()` starts a clip."""

    matrix: Float64[np.ndarray, "2 3"] | None = None  # last known, kept through gaps
    drift: Float64[np.ndarray, "2 3"] | None = None  # correction in crop pixels, still to be applied
    patch: UInt8[np.ndarray, "180 210"] | None = None
    thumbnail: UInt8[np.ndarray, "24 24"] | None = None
    key_in: int = 0  # frames until the next measurement
    gap: int = 0
    searched: int = 0  # frames since the whole frame was searched
    smoothing: alignment.SmoothingState = alignment.SmoothingState()
    faces_seen: int = 0  # frames in which the face was detected
    most_faces: int = 0  # most faces in any frame that was searched as a whole


def track(
    frame: UInt8[np.ndarray, "h w 3"],
    state: TrackingState,
    detector: FaceDetector,
    config: TrackingConfig = TrackingConfig(),  # noqa: B008 - frozen
) -> tuple[TrackedFace, TrackingState]:
    """The tracked face in the next frame (uint8 RGB). Deterministic: the same frames give the same results.

    A clip in which `state.faces_seen` stays 0 shows no face, or fewer than `face_index` + 1
    (`state.most_faces` tells which).
    """
    thumbnail = _thumbnail(frame)
    cut = state.thumbnail is not None and _likeness(state.thumbnail, thumbnail) < config.cut_likeness
    state = dataclasses.replace(state, thumbnail=thumbnail)
    if cut:
        state = dataclasses.replace(state, searched=config.search_every)  # look at once
    if config.method == "every_frame":
        return _track_every_frame(frame, _forget_place(state, config) if cut else state, detector, config)
    followed = _follow(frame, state, config) if state.patch is not None else None
    if followed is not None:
        matrix, patch, drift = followed
        if state.gap == 0 and state.key_in > 1:
            return _seen(matrix, patch, drift, state, key_in=state.key_in - 1)
        face = detector.refine(frame, _face_box(matrix))
        if face is not None:
            measured = alignment.similarity(*alignment.alignment_points(face.points))
            drift, off = _update_drift(matrix, drift, measured, config)
            key_in = config.key_in_doubt if off > config.doubt else config.key_every
            if off > config.jump:
                matrix, drift = np.asarray(measured, np.float64), _IDENTITY
                patch = _patch(frame, matrix)
            return _seen(matrix, patch, drift, state, key_in)
        state = dataclasses.replace(state, matrix=matrix, patch=patch, drift=drift)
    elif cut:
        state = _forget_place(state, config)
    else:
        face = None
        if state.matrix is not None and state.gap < config.max_bridge:
            face = detector.refine(frame, _face_box(state.matrix))
        if face is not None:
            return _found(frame, face, state, detector, config)

    return _search(frame, state, detector, config)


def _seen(matrix, patch, drift, state, key_in) -> tuple[TrackedFace, TrackingState]:
    state = dataclasses.replace(
        state,
        matrix=matrix,
        patch=patch,
        drift=drift,
        key_in=key_in,
        gap=0,
        searched=0,
        faces_seen=state.faces_seen + 1,
    )
    return TrackedFace("detected", matrix), state


def _found(frame, face, state, detector, config) -> tuple[TrackedFace, TrackingState]:
    matrix = _acquire(frame, face, detector)
    return _seen(matrix, _patch(frame, matrix), _IDENTITY, state, config.key_every)


def _forget_place(state, config) -> TrackingState:
    """After a cut the old place means nothing: nothing is bridged, and the choice of the face starts anew."""
    return dataclasses.replace(state, matrix=None, patch=None, gap=max(state.gap, config.max_bridge))


def _search(frame, state, detector, config) -> tuple[TrackedFace, TrackingState]:
    """The face is not where it was: search the whole frame (not in every frame), else bridge or give up."""
    if state.gap >= 2 and state.searched + 1 < config.search_every:
        return _lost(dataclasses.replace(state, searched=state.searched + 1), config)
    faces = detector.detect(frame)
    state = dataclasses.replace(state, searched=0, most_faces=max(state.most_faces, len(faces)))
    anyone = state.matrix is None or state.gap >= config.max_bridge
    face = _choose(faces, state.matrix, config, anyone=anyone)
    if face is not None:
        return _found(frame, face, state, detector, config)
    return _lost(state, config)


def _lost(state, config) -> tuple[TrackedFace, TrackingState]:
    state = dataclasses.replace(state, gap=state.gap + 1)
    if state.matrix is not None and state.gap <= config.max_bridge:
        return TrackedFace("bridged", state.matrix), state
    return TrackedFace("missing", None), dataclasses.replace(state, patch=None)


def _choose(faces: list[Face], matrix, config, anyone: bool) -> Face | None:
    """The face that overlaps the last place best; else, if anyone will do, the one of index `face_index`."""
    if matrix is not None and faces:
        box = _face_box(matrix)
        best = max(faces, key=lambda face: overlap(face.box.astype(np.float64), box))
        if overlap(best.box.astype(np.float64), box) >= config.min_overlap:
            return best
    if anyone and config.face_index < len(faces):
        return faces[config.face_index]
    return None


def _acquire(frame, face: Face, detector) -> Float64[np.ndarray, "2 3"]:
    """A first matrix, better than one measurement: the mean over boxes of slightly different size."""
    matrix = alignment.similarity(*alignment.alignment_points(face.points)).astype(np.float64)
    if len(face.points) == 106:
        return matrix
    again = [detector.refine(frame, _face_box(matrix, scale)) for scale in (0.93, 1.0, 1.07)]
    points = [found.points for found in again if found is not None]
    if not points:
        return matrix
    return alignment.similarity(*alignment.alignment_points(np.mean(points, axis=0))).astype(np.float64)


def _face_box(matrix, scale: float = 1.0) -> Float64[np.ndarray, "4"]:
    """Upright box of the face in the frame, from its matrix."""
    centre = alignment.transform_points(alignment.invert(matrix), [(_FACE_BOX[:2] + _FACE_BOX[2:]) / 2])[0]
    half = scale * (_FACE_BOX[2:] - _FACE_BOX[:2]) / 2 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.concatenate([centre - half, centre + half])


def _compose(outer, inner) -> Float64[np.ndarray, "2 3"]:
    """The affine map that applies `inner`, then `outer`."""
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], axis=1)


def _update_drift(matrix, drift, measured, config):
    """Running estimate of the map from the tracked crop to the measured one, and how far this measurement is off, in
    widths of the crop."""
    new = _compose(np.asarray(measured, np.float64), alignment.invert(matrix))
    corners = np.array([[95.0, 112.0], [325.0, 112.0], [210.0, 340.0]])
    distance = np.abs(alignment.transform_points(new, corners) - corners).max()
    blended = (1 - config.measured_weight) * drift + config.measured_weight * new
    return blended, float(distance) / alignment.CROP_WIDTH


def _follow(frame, state, config):
    """The face carried on by optical flow: (matrix, patch, drift), or None when the flow can't be trusted."""
    here = _patch(frame, state.matrix)
    motion = _patch_motion(state.patch, here, config)
    if motion is None:
        return None
    to_patch = np.diag([_PATCH_SCALE, _PATCH_SCALE, 1.0])[:2]
    undo = _compose(alignment.invert(to_patch), _compose(alignment.invert(motion), to_patch))
    matrix = _compose(undo, state.matrix)
    # Near the identity a share of a similarity is, to first order, a share of its difference to the identity.
    step = _IDENTITY + config.correction_rate * (state.drift - _IDENTITY)
    matrix = _compose(step, matrix)
    drift = _compose(state.drift, alignment.invert(step))
    patch = _patch(frame, matrix)
    inside = (_FEATURE_ROWS, _FEATURE_COLUMNS)
    if _likeness(state.patch[inside], patch[inside]) < config.min_likeness:
        return None
    return matrix, patch, drift


def _patch(frame: UInt8[np.ndarray, "h w 3"], matrix) -> UInt8[np.ndarray, "180 210"]:
    """The upper half of the crop, grey, at half size; large faces are first shrunk by area (aliasing)."""
    shrink = max(1, int(_PATCH_SCALE**-1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    to_patch = _PATCH_SCALE * np.asarray(matrix, np.float64)
    region = np.array([0.0, 0.0, _PATCH_WIDTH, _PATCH_HEIGHT])
    left, top, right, bottom = alignment.frame_box(to_patch, region, frame.shape, margin=2 * shrink)
    if right - left < shrink or bottom - top < shrink:
        return np.zeros((_PATCH_HEIGHT, _PATCH_WIDTH), np.uint8)
    height, width = (bottom - top) // shrink, (right - left) // shrink
    grey = frame[top : top + height * shrink, left : left + width * shrink]
    to_patch = alignment.from_box(to_patch, (left, top, right, bottom))
    if shrink > 1:
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        shift = (shrink - 1) / 2
        to_patch = _compose(to_patch, np.array([[shrink, 0, shift], [0, shrink, shift]]))
    grey = cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY)
    return cv2.warpAffine(
        grey, to_patch, (_PATCH_WIDTH, _PATCH_HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _thumbnail(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "24 24"]:
    """A tiny grey copy from every few pixels: enough to see a cut, and cheap for large frames."""
    step = max(1, min(frame.shape[:2]) // 120)
    sparse = cv2.cvtColor(np.ascontiguousarray(frame[::step, ::step]), cv2.COLOR_RGB2GRAY)
    return cv2.resize(sparse, (24, 24), interpolation=cv2.INTER_AREA)


def _patch_motion(before, after, config) -> Float64[np.ndarray, "2 3"] | None:
    """Similarity of the upper face's motion between two patches (patch pixels), by LK flow and RANSAC."""
    features = cv2.goodFeaturesToTrack(
        before[_FEATURE_ROWS, _FEATURE_COLUMNS], maxCorners=100, qualityLevel=0.003, minDistance=5
    )
    if features is None or len(features) < config.min_features:
        return None
    start = features.reshape(-1, 2) + np.float32([_FEATURE_COLUMNS.start, _FEATURE_ROWS.start])
    end, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, winSize=(17, 17), maxLevel=3)
    found = found.ravel() == 1
    if found.sum() < config.min_features:
        return None
    motion, agree = cv2.estimateAffinePartial2D(
        start[found], end[found], method=cv2.RANSAC, ransacReprojThreshold=1.5, refineIters=20
    )
    if motion is None:
        return None
    count = int(agree.sum())
    if count < config.min_features or count < config.min_agreement * len(start):
        return None
    return motion


def _likeness(first: UInt8[np.ndarray, "a b"], second: UInt8[np.ndarray, "a b"]) -> float:
    """Correlation of two pictures of one size, in [-1, 1]; two flat pictures are alike."""
    first, second = (picture.astype(np.float32) - picture.mean() for picture in (first, second))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 1.0


def _track_every_frame(frame, state, detector, config):
    faces = detector.detect(frame)
    state = dataclasses.replace(state, most_faces=max(state.most_faces, len(faces)))
    anyone = state.matrix is None or state.gap >= config.max_bridge
    face = _choose(faces, state.matrix, config, anyone=anyone)
    if face is None:
        return _lost(state, config)
    points, template = alignment.alignment_points(face.points)
    matrix, smoothing = alignment.similarity_transform(points, state.smoothing, template)
    matrix = alignment.round_to_half(matrix).astype(np.float64)
    state = dataclasses.replace(
        state, matrix=matrix, smoothing=smoothing, gap=0, faces_seen=state.faces_seen + 1
    )
    return TrackedFace("detected", matrix), state


def alignment_points_in_frame(
    matrix: Float[np.ndarray, "2 3"], template: Float[np.ndarray, "k 2"] = alignment.REFERENCE_TEMPLATE
) -> Float64[np.ndarray, "k 2"]:
    """Where the template's points lie in the frame according to a matrix, for drawing and reports."""
    return alignment.transform_points(alignment.invert(matrix), template)
