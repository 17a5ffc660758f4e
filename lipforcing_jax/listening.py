"""What the stream hears: a clip's sound, cut into the input of one chunk after the other.

Nano's ear is part of the stream's step and is given samples with a short look-ahead. wav2vec2 attends to the whole
sound, so its features are made before the step that needs them: for the whole file at once while it is short, and for
longer ones stretch by stretch in bounded memory (`models/wav2vec2.py`), each shortly before it is needed.
"""

from collections.abc import Iterator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.options import FPS, SAMPLE_RATE
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.plan import LEAD, Plan

Sound = Float32[np.ndarray, " n"]


class Listener(Protocol):
    """Turns a sound, mono at 16 kHz, into the `audio` of each `stream.Chunk`."""

    def blank(self) -> np.ndarray:
        """An input of the right shape, for compiling."""

    def chunks(self, sound: Sound, plan: Plan) -> Iterator[np.ndarray]:
        """The input of chunk 0, 1, ... for a clip of the given plan."""


class SampleListener:
    """Samples around each chunk, for a preset whose ear is part of the step."""

    def __init__(self, preset: Preset):
        self.before, self.own, self.after = stream.audio_window(preset)

    def blank(self) -> Float32[np.ndarray, "1 n"]:
        return np.zeros((1, self.before + self.own + self.after), np.float32)

    def chunks(self, sound: Sound, plan: Plan) -> Iterator[Float32[np.ndarray, "1 n"]]:
        length = self.before + self.own + self.after
        lead = LEAD * SAMPLE_RATE // FPS
        end = plan.chunks * self.own + self.after - lead
        padded = np.pad(sound[:end], (self.before + lead, max(0, end - len(sound))))
        for chunk in range(plan.chunks):
            yield padded[None, chunk * self.own : chunk * self.own + length]


class FeatureListener:
    """wav2vec2's features of each chunk's frames; the lead-in's are those of frame 0."""

    def __init__(self, preset: Preset, model: Wav2Vec2):
        self.model, self.cfg = model, model.cfg
        self.per_chunk = stream.frames_per_chunk(preset)
        self._whole = jax.jit(wav2vec2.encode, static_argnums=2)
        self._prepare = jax.jit(wav2vec2.prepare, static_argnums=2)
        self._span = jax.jit(wav2vec2.encode_span, static_argnums=(3, 4))

    def blank(self) -> Float32[np.ndarray, "1 t k"]:
        return np.zeros((1, self.per_chunk, self.cfg.features), np.float32)

    def chunks(self, sound: Sound, plan: Plan) -> Iterator[Float32[np.ndarray, "1 t k"]]:
        held, given = None, 0
        for rows in self._features(jnp.asarray(sound), plan):
            held = np.concatenate([np.repeat(rows[:1], LEAD, axis=0) if held is None else held, rows])
            while len(held) >= self.per_chunk and given < plan.chunks:
                yield held[None, : self.per_chunk]
                held, given = held[self.per_chunk :], given + 1

    def _features(self, sound: jax.Array, plan: Plan) -> Iterator[Float32[np.ndarray, "n k"]]:
        """Rows of all frames in order; as in the reference, silence fills the sound up to the last chunk's end."""
        frames = wav2vec2.frame_count(len(sound), self.cfg, plan.generated)
        span, context = self.cfg.span, self.cfg.context
        if frames <= span + 2 * context:
            yield np.asarray(self._whole(self.model, sound, frames))
            return
        prepared, done = self._prepare(self.model, sound, frames), 0
        for start in wav2vec2.spans(frames, span):
            rows = self._span(self.model, prepared, jnp.asarray(start), span, context)
            yield np.asarray(rows)[done - start :]
            done = start + span


def listener_for(preset: Preset, model: Wav2Vec2 | None) -> Listener:
    """The listener of a preset, with wav2vec2 where its ear is not part of the step."""
    return SampleListener(preset) if model is None else FeatureListener(preset, model)
