"""Samples of drawn talkers: each direction of each pair, in several looks and rooms (see `talker_dataset`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from lipforcing_jax.data import builder, speech_dataset, talker_dataset
from lipforcing_jax.data.acoustics import augment
from lipforcing_jax.data.builder import Keyed
from lipforcing_jax.data.encoding import Encoder, to_int16
from lipforcing_jax.data.sample import Sample
from lipforcing_jax.data.variation import vary
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.report import prefetch

STILL = 0.01
"""A mouth whose parameters stay within this range does not speak."""


@dataclass(frozen=True)
class Talkers:
    """What a data set of talkers is made of.

    Every pair is shown as it was drawn, with clean sound, and in `looks` variations, each with sound in a random room.
    Silent targets are repeated, in rooms of their own, until they are `silent_share` of the training samples: they are
    few, and a pause before speech shows a mouth that opens to breathe, so silence must be taught apart. The last
    `heldout` pairs are the split "val", once each way and as they were drawn.
    """

    pairs: int
    latent_frames: int = 21
    looks: int = 1
    silent_share: float = 0.15
    heldout: int = 20
    speech_clips: int = 2800
    speech_frames: int = 129
    seed: int = 0
    first: int = 0
    """Seed of the first face, a multiple of ten: other faces for a network that knows those below."""

    @property
    def frames(self) -> int:
        """Video frames of a clip."""
        return 4 * self.latent_frames - 3


def build_talkers(workdir: Path, encoder: Encoder, talkers: Talkers, workers: int = 1, overwrite: bool = False) -> Path:
    """Draws what is missing of `workdir/speech` and `workdir/talkers`, and writes `workdir/dataset`; returns it.

    Raises:
      UserError: as `builder.build`.
    """
    shards = speech_dataset.build(
        workdir / "speech", "train", talkers.speech_clips, talkers.speech_frames, workers=workers
    )
    speech = speech_dataset.load(shards)
    count, frames = 2 * talkers.pairs, talkers.frames
    mouths = speech["mouth"][:count, :frames].reshape(talkers.pairs, 2, frames, -1)
    sounds = speech["audio"][:count, : frames * SAMPLES_PER_FRAME].reshape(talkers.pairs, 2, -1)
    size = encoder.preset.face_size
    pictures = talker_dataset.build(workdir / "talkers", mouths, size, "train", workers, talkers.first)
    del speech

    known = talkers.pairs - talkers.heldout
    copies = repeats(still(mouths[:known]), talkers)
    splits = {
        "train": samples(encoder, pictures, range(known), sounds, copies, talkers.seed),
        "val": samples(encoder, pictures, range(known, talkers.pairs), sounds, None, talkers.seed),
    }
    out = workdir / "dataset"
    builder.build(out, encoder.facts(talkers.latent_frames), encoder.prompts, splits, overwrite)
    return out


def still(mouths: Float32[np.ndarray, "pairs 2 t 6"]) -> np.ndarray:
    """Which clips show nobody speaking: bool [pairs, 2]."""
    return np.ptp(mouths, axis=2).max(axis=-1) < STILL


def repeats(silent: np.ndarray, talkers: Talkers) -> np.ndarray:
    """How often each clip is a target in each look, int [looks + 1, pairs, 2]: 1, or more where it is silent.

    Silent targets make up `talkers.silent_share` of all, or more where the pairs hold more of them.
    """
    silent = np.broadcast_to(silent, (talkers.looks + 1, *silent.shape))
    wanted = round(talkers.silent_share / (1 - talkers.silent_share) * np.count_nonzero(~silent))
    found = np.count_nonzero(silent)
    counts = np.ones(silent.shape, int)
    if found:
        share, rest = divmod(max(wanted, found), found)
        counts[silent] = share + (np.arange(found) < rest)
    return counts


def samples(
    encoder: Encoder, shards: list[Path], pairs: range, sounds: Float32[np.ndarray, "pairs 2 n"],
    copies: np.ndarray | None, seed: int,
) -> Iterator[Keyed]:  # fmt: skip
    """Samples of the pairs, look by look.

    Args:
      copies: from `repeats`; None takes every clip once and as it was drawn.
    """
    copies = np.ones((1, len(pairs), 2), int) if copies is None else copies
    shown = prefetch(_pictures(shards, pairs, len(copies), seed), 2)
    for look, pair, clips in tqdm(shown, desc="samples", total=len(copies) * len(pairs)):
        seen, masked = encoder.look(clips)
        for target in (0, 1):
            source = 1 - target
            for copy in range(copies[look, pair - pairs.start, target]):
                sound = sounds[pair, target]
                if look or copy:
                    heard = augment(sound, np.random.default_rng([seed, 1, pair, target, look, copy]))
                else:
                    heard = sound
                sample = Sample(
                    target=seen[target], first=seen[source, :1], masked=masked[source], reference=seen[source],
                    audio=encoder.hear(heard, clips.shape[1]), waveform=to_int16(sound),
                    prompt=encoder.prompts.texts[0],
                )  # fmt: skip
                yield f"{pair:05d}-{target}-{look}-{copy}", sample


def _pictures(
    shards: list[Path], pairs: range, looks: int, seed: int
) -> Iterator[tuple[int, int, UInt8[np.ndarray, "2 t s s 3"]]]:
    """(look, pair, its two clips); look 0 is as it was drawn."""
    for look in range(looks):
        for pair in pairs:
            shard, row = divmod(pair, talker_dataset.SHARD)
            clips = np.array(np.load(shards[shard], mmap_mode="r")[row])
            yield look, pair, vary(clips, np.random.default_rng([seed, 0, pair, look])) if look else clips
