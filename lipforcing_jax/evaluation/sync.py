"""Can a SyncNet tell? Sync-C, Sync-D and the offset of talkers with their own sound, another mouth, and a late sound.

The form is the scorer's, by which the reward is made (`models.sync_distance`).
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from lipforcing_jax.media.mfcc import mfcc
from lipforcing_jax.models.sync_distance import SyncScore, score, shift_distances
from lipforcing_jax.models.syncnet import SyncNet, prepare_frames
from lipforcing_jax.options import SAMPLES_PER_FRAME

DELAY = 8
"""Frames by which the late sound is moved."""


class Heard(NamedTuple):
    """Pairs of talkers and what they say: one face and motion, two mouths. Sounds last longer than pictures."""

    levels: UInt8[np.ndarray, "n 2 t h w 3"]
    audio: Float32[np.ndarray, "n 2 s"]


def cepstra_of(audio: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, "m c"]:
    """MFCC of samples in [-1, 1] as SyncNet hears them."""
    return mfcc(np.asarray(audio, np.float64) * 32767).astype(np.float32)


@jax.jit
def compare(net: SyncNet, levels: UInt8[Array, "t h w 3"], cepstra: Float[Array, "n m c"]) -> SyncScore:
    """Scores of one picture track with each of several sounds, every field [n]."""
    faces = net.embed_faces(prepare_frames(levels, net.cfg))
    sounds = jax.vmap(net.embed_sound)(cepstra)
    return jax.vmap(lambda sound: score(shift_distances(faces, sound)))(sounds)


def measure(net: SyncNet, heard: Heard, frames: int) -> dict[str, float]:
    """Means over all clips, cut to `frames` frames.

    `truth_*` is a mouth with its sound, `wrong_*` the other mouth of its pair with the same sound. `truth_wins` is the
    share of clips in which the truth has the higher Sync-C, `truth_nearer` the lower Sync-D; `offset_found` that of
    shifts within one frame of the right one, `delay_found` the same with the sound moved by `DELAY` frames.
    """
    truth, wrong, moved = [], [], []
    cut = partial(_cut, frames=frames)
    for levels, audio in zip(heard.levels, heard.audio, strict=True):
        early = [cepstra_of(cut(sound, DELAY)) for sound in audio]
        own = [cepstra_of(cut(sound)) for sound in audio]
        for side in (0, 1):
            found = compare(net, levels[side, :frames], np.stack([own[side], own[1 - side], early[side]]))
            rows = np.stack([np.asarray(field, float) for field in found], axis=1)
            truth.append(rows[0])
            wrong.append(rows[1])
            moved.append(rows[2])
    # A wrong pair is listed with the picture's side; the same sound with the other picture is its neighbour.
    wrong = np.asarray(wrong).reshape(-1, 2, 3)[:, ::-1].reshape(-1, 3)
    return summary(np.asarray(truth), wrong, np.asarray(moved))


def summary(
    truth: Float[np.ndarray, "n 3"], wrong: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "n 3"]
) -> dict[str, float]:
    """The numbers of `measure`, from Sync-C, Sync-D and shift of every clip."""
    share = lambda mask: float(np.mean(mask))  # noqa: E731
    return {
        "truth_c": share(truth[:, 0]), "truth_d": share(truth[:, 1]),
        "wrong_c": share(wrong[:, 0]), "wrong_d": share(wrong[:, 1]),
        "truth_wins": share(truth[:, 0] > wrong[:, 0]), "truth_nearer": share(truth[:, 1] < wrong[:, 1]),
        "offset_found": share(np.abs(truth[:, 2]) <= 1), "delay_found": share(np.abs(moved[:, 2] + DELAY) <= 1),
    }  # fmt: skip


def _cut(sound: np.ndarray, start: int = 0, *, frames: int) -> np.ndarray:
    return sound[start * SAMPLES_PER_FRAME : (start + frames) * SAMPLES_PER_FRAME]
