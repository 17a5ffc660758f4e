"""How a clip divides into latent frames and chunks (spec inference 1.2 and 1.3)."""

import math
from dataclasses import dataclass

from lipforcing_jax.models.conditioning import FRAMES_PER_LATENT

LEAD = FRAMES_PER_LATENT - 1
"""Copies of frame 0 put before a clip, so that its lone first latent frame becomes an ordinary group of four."""


@dataclass(frozen=True)
class Plan:
    """A clip of `frames` video frames rendered as `chunks` chunks, whose surplus at the end is cut."""

    frames: int
    chunks: int
    chunk: int

    @property
    def latent_frames(self) -> int:
        return self.chunks * self.chunk

    @property
    def generated(self) -> int:
        """Video frames that the chunks produce: 4 T - 3."""
        return FRAMES_PER_LATENT * self.latent_frames - LEAD


def plan(frames: int, chunk: int = 3) -> Plan:
    """Enough chunks to cover `frames` (at least one); the last chunk is padded and its surplus trimmed."""
    if frames < 1:
        raise ValueError(f"a clip needs at least one frame, not {frames}")
    return Plan(frames, max(1, math.ceil((frames + LEAD) / (FRAMES_PER_LATENT * chunk))), chunk)


def reference_plan(frames: int, chunk: int = 3) -> Plan:
    """The reference's rule: whole chunks only, so up to 4 * chunk - 1 frames of the audio are left out."""
    latent_frames = 1 + (frames - 1) // FRAMES_PER_LATENT
    chunks = max(1, latent_frames // chunk)
    return Plan(FRAMES_PER_LATENT * chunks * chunk - LEAD, chunks, chunk)


def chunk_lengths(latent_frames: int, chunk: int) -> tuple[int, ...]:
    """Chunk sizes of a whole-sequence pass; a remainder joins the first chunk (spec network 6.2)."""
    count = max(1, latent_frames // chunk)
    first = latent_frames - (count - 1) * chunk
    return (first,) + (chunk,) * (count - 1)


def ping_pong(index: int, length: int) -> int:
    """Source frame shown at `index` when a video of `length` frames runs forth and back (spec inference 1.4)."""
    if length == 1:
        return 0
    i = index % (2 * length - 2)
    return i if i < length else 2 * length - 2 - i
