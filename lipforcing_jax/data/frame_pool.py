"""Short clips kept in one file, from which the autoencoder's training draws random crops."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from lipforcing_jax.data.dead_leaves import moving_leaves
from lipforcing_jax.data.talkers import render_clip
from lipforcing_jax.whole_file import written_whole

WANDERING = 0.25
"""Share of the faces whose mouths wander through all parameters and do not speak."""
MOVES = 0.05
"""Spread of an opening that moves."""


def random_mouth(rng: np.random.Generator, frames: int) -> Float32[np.ndarray, "t 6"]:
    """A smoothly wandering mouth that reaches every corner of the parameters."""
    knots = rng.random((4, 6))
    at = np.linspace(0, frames - 1, len(knots))
    mouth = np.stack([np.interp(np.arange(frames), at, knots[:, j]) for j in range(6)], axis=1)
    mouth[:, 1] *= rng.random() * 0.9
    mouth[:, 0] = 0.8 * mouth[:, 1]
    mouth[:, 2] = 0.5 + 0.4 * (mouth[:, 2] - 0.5)
    return mouth.astype(np.float32)


def spoken_mouth(
    rng: np.random.Generator, mouths: Float32[np.ndarray, "n t 6"], frames: int
) -> Float32[np.ndarray, "frames 6"]:
    """A stretch of one of `mouths` in which it moves, if a few looks find one."""
    for _ in range(20):
        clip, start = rng.integers(len(mouths)), rng.integers(mouths.shape[1] - frames + 1)
        mouth = mouths[clip, start : start + frames]
        if mouth[:, 1].std() > MOVES:
            break
    return mouth


def build(
    path: Path, clips: int, frames: int, size: int, leaves: float, mouths: Float32[np.ndarray, "n t 6"]
) -> UInt8[np.ndarray, "n t size size 3"]:
    """Loads the pool, drawing it first if the file is not there.

    A share of `leaves` clips are dead leaves. Most faces speak, by stretches of `mouths`: lips that only wander teach
    the decoder too slow a motion.
    """
    if not path.exists():
        drawn = np.empty((clips, frames, size, size, 3), np.uint8)
        for i in tqdm(range(clips), desc="pictures"):
            rng = np.random.default_rng([i, 0x9002])
            if rng.random() < leaves:
                drawn[i] = moving_leaves(rng, frames, size)
                continue
            mouth = random_mouth(rng, frames) if rng.random() < WANDERING else spoken_mouth(rng, mouths, frames)
            drawn[i] = render_clip(i, i, mouth, size=size, camera_seed=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as growing, growing.open("wb") as file:
            np.save(file, drawn)
    return np.load(path, mmap_mode="r")


def crops(
    pool, rng: np.random.Generator, batch: int, frames: int, crop: int, grid: int
) -> Float32[np.ndarray, "b t crop crop 3"]:
    """Random windows in space and time, mirrored and colour-shifted at random, in [0, 1].

    Windows lie on the patch `grid`, and half of them on the mouth, where the student draws.
    """
    count, length, size = pool.shape[:3]
    out = np.empty((batch, frames, crop, crop, 3), np.float32)
    for b in range(batch):
        i, t = rng.integers(count), rng.integers(length - frames + 1)
        y, x = grid * rng.integers((size - crop) // grid + 1, size=2)
        if rng.random() < 0.5:
            y, x = size // 2 - grid * rng.integers(3), (size - crop) // 2
        clip = pool[i, t : t + frames, y : y + crop, x : x + crop].astype(np.float32) / 255
        if rng.random() < 0.3:  # A stream begins with copies of its first frame.
            clip[:3] = clip[3]
        clip = clip[:, :, ::-1] if rng.random() < 0.5 else clip
        out[b] = np.clip(clip * rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, 3) + rng.uniform(-0.05, 0.05), 0, 1)
    return out
