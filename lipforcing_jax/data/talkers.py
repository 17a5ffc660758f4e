"""Synthetic talkers: clips of a seeded person with any mouth track, aligned or in a scene."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from lipforcing_jax.data.camera import clean_camera, sample_camera
from lipforcing_jax.data.identity import sample_identity
from lipforcing_jax.data.motion import sample_motion
from lipforcing_jax.data.portrait import prepare
from lipforcing_jax.data.renderer import View, aligned_view, render, render_tracks

_SCENE = (-1.08, -0.58, 1.08, 1.58)
"""What a square scene shows, in face units."""


def render_clip(
    identity_seed: int,
    motion_seed: int,
    mouth: Float32[np.ndarray, "t 6"],
    size: int = 128,
    camera_seed: int | None = None,
    split: str = "train",
    fps: float = 25.0,
) -> UInt8[np.ndarray, "t size size 3"]:
    """An aligned clip of a talker.

    The same seeds with another mouth track give the true answer of a cross-driven clip: the same person,
    movement and camera, and identical pixels outside the lower face. `camera_seed` None adds no blur, noise
    or compression.
    """
    return render_clips(identity_seed, motion_seed, mouth[None], size, camera_seed, split, fps)[0]


def render_clips(
    identity_seed: int,
    motion_seed: int,
    mouths: Float32[np.ndarray, "k t 6"],
    size: int = 128,
    camera_seed: int | None = None,
    split: str = "train",
    fps: float = 25.0,
) -> UInt8[np.ndarray, "k t size size 3"]:
    """The aligned clips of `render_clip` for several mouth tracks at once; all but the mouth is shared."""
    portrait = prepare(sample_identity(identity_seed, split), size)
    motion = sample_motion(motion_seed, mouths.shape[1], fps)
    camera = clean_camera() if camera_seed is None else sample_camera(camera_seed)
    return render_tracks(portrait, mouths, motion, camera, aligned_view(size))


def render_scene(
    identity_seed: int,
    motion_seed: int,
    mouth: Float32[np.ndarray, "t 6"],
    width: int = 360,
    height: int = 360,
    camera_seed: int | None = None,
    split: str = "train",
    fps: float = 25.0,
) -> UInt8[np.ndarray, "t height width 3"]:
    """The talker with hair, shoulders and background in a bigger picture, as a webcam would show it."""
    left, top, right, bottom = _SCENE
    half = 0.5 * (bottom - top) * width / height
    extent = (-half, top, half, bottom)
    size = max(16, int(np.ceil(height / (bottom - top))))
    portrait = prepare(sample_identity(identity_seed, split), size, extent)
    motion = sample_motion(motion_seed, len(mouth), fps)
    camera = clean_camera() if camera_seed is None else sample_camera(camera_seed)
    return render(portrait, mouth, motion, camera, View(*extent, width=width, height=height, aligned=False))
