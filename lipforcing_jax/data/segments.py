"""Stretches of a video in which one face is seen well, aligned as the networks take it (spec training 5.2 and 5.3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from lipforcing_jax.media import alignment, tracking
from lipforcing_jax.media.faces import FaceDetector
from lipforcing_jax.options import FPS

FACE_WIDTH = 320
"""Pixels of the 420 x 560 crop that a face's box is wide."""
JUDGED_SIZE = 128
"""Side in pixels of the grey face that sharpness and motion are measured on, whatever it is stored at."""


@dataclass(frozen=True)
class Quality:
    """What makes a segment fit for training; the defaults let through what a viewer would call a talking head.

    Attributes:
      min_face: width of the face in pixels of the video.
      min_sharpness: variance of the Laplacian of the grey face at 128 x 128, in squared grey levels.
      max_shift: how far the face may move between frames, as a share of the crop's width; more is a jump.
      min_likeness: correlation of the face with itself one frame earlier; less is a cut or a blurred turn.
      max_still: share of frames that may repeat the one before, as in a photograph with a voice over it.
    """

    min_face: float = 100.0
    min_sharpness: float = 20.0
    max_shift: float = 0.15
    min_likeness: float = 0.7
    max_still: float = 0.5


@dataclass(frozen=True)
class Segment:
    """Aligned faces from frame `start` of the video on."""

    start: int
    faces: UInt8[np.ndarray, "t s s 3"]


@dataclass(frozen=True)
class Refusal:
    """Why the video gave no segment at a place; `start` counts frames."""

    start: int
    reason: str

    def __str__(self) -> str:
        return f"{self.start / FPS:.1f} s: {self.reason}"


def segments(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], length: int, size: int, detector: FaceDetector,
    quality: Quality = Quality(), config: tracking.TrackingConfig = tracking.TrackingConfig(),  # noqa: B008 - frozen
) -> Iterator[Segment | Refusal]:  # fmt: skip
    """Segments of exactly `length` frames, one after the other, and what was refused between them.

    Memory holds one segment. A frame in which the face is missing, small, elsewhere or another one ends the segment
    under way, and the next begins behind it.

    Args:
      frames: at 25 per second.
      size: side of the aligned faces.
    """
    state, before = tracking.TrackingState(), None
    run, refused, number = [], None, -1
    for number, frame in enumerate(frames):
        tracked, state = tracking.track(frame, state, detector, config)
        reason = _fault_of_place(tracked, before, quality)
        face = None if reason else alignment.align_face(frame, tracked.matrix, size)
        if run and not reason and _likeness(run[-1], face) < quality.min_likeness:
            reason = "a cut or a quick turn"
        before = tracked.matrix
        if reason:
            if reason != refused:
                yield Refusal(number, reason)
            run, refused = [], reason
            continue
        run.append(face)
        refused = None
        if len(run) == length:
            start, faces = number + 1 - length, np.stack(run)
            fault = fault_of_faces(faces, quality)
            yield Refusal(start, fault) if fault else Segment(start, faces)
            run = []
    if run:
        reason = f"too short: {len(run) / FPS:.2f} s to its end, {length / FPS:.2f} s are needed"
        yield Refusal(number + 1 - len(run), reason)


def _fault_of_place(tracked: tracking.TrackedFace, before, quality: Quality) -> str | None:
    """What is wrong with where the face is in a frame, or None."""
    if tracked.status != "detected":
        return "no face"
    width = FACE_WIDTH / np.sqrt(abs(np.linalg.det(tracked.matrix[:, :2])))
    if width < quality.min_face:
        return f"a face narrower than {quality.min_face:g} pixels"
    if before is not None and _shift(before, tracked.matrix) > quality.max_shift:
        return "a cut or a jump of the face"
    return None


def _shift(before: Float64[np.ndarray, "2 3"], after: Float64[np.ndarray, "2 3"]) -> float:
    """Largest way of an alignment point between two frames, as a share of the crop's width."""
    points = alignment.transform_points(alignment.invert(before), alignment.REFERENCE_TEMPLATE)
    moved = alignment.transform_points(after, points) - alignment.REFERENCE_TEMPLATE
    return float(np.abs(moved).max()) / alignment.CROP_WIDTH


def fault_of_faces(faces: UInt8[np.ndarray, "t s s 3"], quality: Quality) -> str | None:
    """What is wrong with the pictures of a segment, or None."""
    grey = np.stack([_grey(face) for face in faces])
    found = sharpness(grey[:: max(1, len(grey) // 16)])
    if found < quality.min_sharpness:
        return f"blurred (sharpness {found:.0f}, {quality.min_sharpness:g} is needed)"
    still = stillness(grey)
    if still > quality.max_still:
        return f"{still:.0%} of the frames repeat the one before"
    return None


def sharpness(grey: UInt8[np.ndarray, "t s s"]) -> float:
    """Median over the pictures of the variance of their Laplacian, in squared grey levels."""
    return float(np.median([cv2.Laplacian(picture, cv2.CV_32F).var() for picture in grey]))


def stillness(grey: UInt8[np.ndarray, "t s s"]) -> float:
    """Share of the pictures that differ from the one before by less than half a grey level on average."""
    steps = [cv2.absdiff(a, b).mean() for a, b in zip(grey, grey[1:], strict=False)]
    return float(np.mean(np.array(steps) < 0.5))


def _grey(face: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "128 128"]:
    small = cv2.resize(face, (JUDGED_SIZE, JUDGED_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def _likeness(first: UInt8[np.ndarray, "s s 3"], second: UInt8[np.ndarray, "s s 3"]) -> float:
    """Correlation of two faces, in [-1, 1]."""
    return float(cv2.matchTemplate(_grey(first), _grey(second), cv2.TM_CCOEFF_NORMED)[0, 0])
