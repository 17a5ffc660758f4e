"""Movement that has nothing to do with speech: head pose, blinks, gaze, brows, tracker jitter and light
flicker.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter1d


@dataclass(frozen=True)
class Motion:
    """Tracks of one value per frame.

    yaw, pitch, roll in radians (yaw > 0 turns the nose to the right of the picture); shift_x, shift_y in
    face units (scenes only); blink in [0, 1]; gaze_x, gaze_y in face units; brow in [-1, 1]; jitter_x,
    jitter_y in face units, jitter_scale relative and jitter_roll in radians are what remains after a
    tracker's alignment; light is a brightness factor near 1; smear_x, smear_y are the spread (face units) of
    motion blur.
    """

    yaw: Float32[np.ndarray, " t"]
    pitch: Float32[np.ndarray, " t"]
    roll: Float32[np.ndarray, " t"]
    shift_x: Float32[np.ndarray, " t"]
    shift_y: Float32[np.ndarray, " t"]
    blink: Float32[np.ndarray, " t"]
    gaze_x: Float32[np.ndarray, " t"]
    gaze_y: Float32[np.ndarray, " t"]
    brow: Float32[np.ndarray, " t"]
    jitter_x: Float32[np.ndarray, " t"]
    jitter_y: Float32[np.ndarray, " t"]
    jitter_scale: Float32[np.ndarray, " t"]
    jitter_roll: Float32[np.ndarray, " t"]
    light: Float32[np.ndarray, " t"]
    smear_x: Float32[np.ndarray, " t"]
    smear_y: Float32[np.ndarray, " t"]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.yaw)


def still_motion(frames: int) -> Motion:
    """No movement at all (for tests and pictures)."""
    zero = np.zeros(frames, np.float32)
    return Motion(**{f.name: (np.ones_like(zero) if f.name == "light" else zero) for f in fields(Motion)})


def _smooth(rng: np.random.Generator, frames: int, seconds: float, fps: float, scale: float) -> np.ndarray:
    """Random track with about unit variance times `scale`, smooth over `seconds`."""
    sigma = max(seconds * fps, 1e-3)
    pad = int(3 * sigma) + 1
    track = gaussian_filter1d(rng.standard_normal(frames + 2 * pad), sigma, mode="nearest")[
        pad : pad + frames
    ]
    return scale * track * np.sqrt(2 * np.sqrt(np.pi) * sigma)


def _blinks(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    """Blinks of 0.2 to 0.35 s every 2 to 6 s, closing faster than opening."""
    track = np.zeros(frames)
    time = np.arange(frames) / fps
    start = rng.uniform(-1, 4)
    while start < frames / fps:
        close, open_again = rng.uniform(0.06, 0.10), rng.uniform(0.12, 0.22)
        depth = rng.uniform(0.8, 1.0)
        rising = np.clip((time - start) / close, 0, 1)
        falling = np.clip((start + close + 0.04 + open_again - time) / open_again, 0, 1)
        track = np.maximum(track, depth * np.minimum(rising, falling))
        start += rng.uniform(1.5, 6.0)
    return track + np.clip(rng.normal(0.05, 0.08), 0, 0.25) * (1 - track)


def _gaze(rng: np.random.Generator, frames: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Fixations of 0.4 to 2.5 s with jumps between them."""
    x, y = np.zeros(frames), np.zeros(frames)
    start = 0
    while start < frames:
        length = max(1, int(rng.uniform(0.4, 2.5) * fps))
        x[start : start + length] = rng.normal(0, 0.010)
        y[start : start + length] = rng.normal(0, 0.005)
        start += length
    return np.clip(x, -0.025, 0.025), np.clip(y, -0.012, 0.012)


def _smear(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    """Bursts of motion blur: most frames are sharp."""
    burst = np.clip(_smooth(rng, frames, 0.12, fps, 1.0) - 1.2, 0, 2)
    return rng.uniform(0, 1) ** 2 * 0.025 * burst


def sample_motion(seed: int, frames: int, fps: float = 25.0) -> Motion:
    """Random movement for `frames` frames; independent of any speech."""
    rng = np.random.default_rng([int(seed), 5501])
    liveliness = rng.uniform(0.15, 1.0)

    def pose(slow: float, quick: float) -> np.ndarray:
        return liveliness * (_smooth(rng, frames, 0.8, fps, slow) + _smooth(rng, frames, 0.22, fps, quick))

    def jitter(scale: float) -> np.ndarray:
        level = rng.uniform(0.3, 1.3)
        return level * (
            _smooth(rng, frames, 0.35, fps, scale) + _smooth(rng, frames, 0.02, fps, 0.25 * scale)
        )

    gaze_x, gaze_y = _gaze(rng, frames, fps)
    flicker = _smooth(rng, frames, 0.5, fps, 0.015 * rng.random())
    flicker = flicker + rng.normal(0, 0.003 * rng.random(), frames)
    tracks = {
        "yaw": pose(0.10, 0.03),
        "pitch": pose(0.06, 0.03),
        "roll": pose(0.05, 0.02),
        "shift_x": pose(0.05, 0.01),
        "shift_y": pose(0.03, 0.01),
        "blink": _blinks(rng, frames, fps),
        "gaze_x": gaze_x,
        "gaze_y": gaze_y,
        "brow": np.clip(_smooth(rng, frames, 0.3, fps, 0.4), -1, 1),
        "jitter_x": jitter(0.007) + rng.normal(0, 0.008),
        "jitter_y": jitter(0.008) + rng.normal(0, 0.012),
        "jitter_scale": jitter(0.008) + rng.normal(0, 0.012),
        "jitter_roll": jitter(0.008) + rng.normal(0, 0.012),
        "light": 1 + flicker,
        "smear_x": _smear(rng, frames, fps),
        "smear_y": 0.7 * _smear(rng, frames, fps),
    }
    return Motion(**{name: np.asarray(track, np.float32) for name, track in tracks.items()})
