"""The one idea of the project: a pure step that takes one chunk of video and sound and returns the spoken frames.

    step(networks, preset, masks, text, state, chunk, key) -> (state, frames)

It is made of two: `denoise`, which needs the chunk before, and `finish`, which draws what has been denoised. Live mode
calls them as frames arrive, one chunk's pictures being drawn while the next chunk is denoised; a whole clip is
`lax.scan` of the step (`run`). Nothing else advances a clip, so they agree bit for bit. A chunk is 12 aligned frames at
25 fps; the clip begins with three copies of its first frame (`sampling.plan.LEAD`), whose results the caller drops.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from lipforcing_jax.models.audio import LogMelEncoder, context, encode_window
from lipforcing_jax.models.conditioning import FRAMES_PER_LATENT
from lipforcing_jax.models.dit import DiT, KeyValues
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.sampling import causal, detail, placement, recall, steady_mouth
from lipforcing_jax.sampling.codec import Codec
from lipforcing_jax.sampling.plan import LEAD


class Networks(NamedTuple):
    """The trained parts of a preset, and the embedding of its one prompt.

    Without an ear the sound comes to the step as features, made for the whole clip beforehand.
    """

    dit: DiT
    codec: Codec
    ear: LogMelEncoder | None
    text: Float[Array, "1 l d"]


class Masks(NamedTuple):
    """Where the picture is kept (1) and generated (0), for pixels and for latent cells."""

    pixel: Float[Array, "s s"]
    latent: Float[Array, "h w"]


class Chunk(NamedTuple):
    """Input of one step: aligned frames, and the samples around them (`audio_window`) or the features of them."""

    frames: UInt8[Array, "b t s s 3"]
    audio: Float[Array, "b n"] | Float[Array, "b t a"]


class Drawing(NamedTuple):
    """What the second part of a step carries from chunk to chunk."""

    decoder: Any
    mouths: recall.Mouths | None
    """None where the preset gives no lost detail back."""


class StreamState(NamedTuple):
    """Everything a clip carries from chunk to chunk."""

    sampler: causal.SamplerState
    encoder: Any
    drawing: Drawing | None
    """None where the pictures are drawn elsewhere: `denoise` hands it on as it is."""
    ref_latent: Float[Array, "b 1 h w c"]
    mouth: Float[Array, "b 1 h w c"] | None
    """The mean that `steady_mouth` shows; None where the preset shows the source as it is."""


class Sketch(NamedTuple):
    """A denoised chunk: its latents and the source's, and what else its pictures are drawn from."""

    made: Float[Array, "b t h w c"]
    seen: Float[Array, "b t h w c"]
    frames: UInt8[Array, "b t2 s s 3"]
    first: Bool[Array, ""]


def frames_per_chunk(preset: Preset) -> int:
    """Video frames of one chunk: 12 for chunks of three latent frames."""
    return FRAMES_PER_LATENT * preset.window.chunk


def audio_window(preset: Preset) -> tuple[int, int, int]:
    """Samples that a chunk needs: before its first frame, in its frames, and after its last (the look-ahead)."""
    before, after = context(preset.audio)
    per_frame = preset.audio.sample_rate // preset.audio.fps
    return before * per_frame, frames_per_chunk(preset) * per_frame, after * per_frame


def start(networks: Networks, preset: Preset, batch: int = 1) -> StreamState:
    """State before the first chunk."""
    size = preset.face_size
    cells = preset.latent_size
    blank = jnp.zeros((batch, 1, cells, cells, preset.dit.latent_channels))
    state = StreamState(
        causal.start(networks.dit, preset.window, batch, cells, cells),
        # Both source streams, as they are and masked, go through the encoder as one batch of two.
        networks.codec.encoder_memory(2 * batch, size),
        Drawing(
            # The decoder draws the source beside the result where its lost detail is to be given back.
            networks.codec.decoder_memory(batch * (2 if preset.keep_detail else 1), cells),
            recall.mouths_of(batch, frames_per_chunk(preset), size) if preset.keep_detail else None,
        ),
        blank,
        blank if preset.steady_mouth else None,
    )
    return placement.of_stream(state)


def constant_text(networks: Networks, batch: int = 1) -> KeyValues:
    """Cross-attention keys and values of the fixed prompt."""
    return placement.by_heads(networks.dit.text_keys(jnp.repeat(networks.text, batch, axis=0)))


def listen(ear: LogMelEncoder | None, audio: Array, first: Array) -> Float[Array, "b t 4a"]:
    """Features of the chunk's frames, grouped by latent frame; in the first chunk the lead-in repeats frame 0."""
    features = audio if ear is None else encode_window(ear, audio)
    led = jnp.concatenate([jnp.repeat(features[:, LEAD : LEAD + 1], LEAD, axis=1), features[:, LEAD:]], axis=1)
    features = jnp.where(first, led, features)
    return features.reshape(features.shape[0], -1, FRAMES_PER_LATENT * features.shape[-1])


def look(codec: Codec, frames: UInt8[Array, "b t s s 3"], mask: Float[Array, "s s"], memory, first: Array):
    """Latents of the frames and of the frames with the mouth greyed out, and the encoder's memory."""
    pixels = placement.by_rows(frames.astype(jnp.float32) / 255)
    # Masked pixels become mid-grey: zero in the reference's [-1, 1] (spec inference, trap T4).
    greyed = 0.5 + (pixels - 0.5) * mask[None, None, :, :, None]
    latents, memory = codec.encode(jnp.concatenate([pixels, greyed]), memory, first)
    seen, masked = placement.by_clips(tuple(jnp.split(latents, 2)))
    return seen, masked, placement.by_rows(memory)


def draw(codec: Codec, latents: Float[Array, "b t h w c"], memory, first: Array):
    """Pictures of the latents and the decoder's memory."""
    frames, memory = codec.decode(placement.by_rows(latents), memory, first)
    return frames, placement.by_rows(memory)


def denoise(
    networks: Networks, preset: Preset, masks: Masks, text: KeyValues, state: StreamState, chunk: Chunk, key: Array
) -> tuple[StreamState, Sketch]:
    """The first part of a step: everything up to the chunk's latents.

    `key` is the clip's key: the noise of chunk k comes from `fold_in(key, k)`.
    """
    first = state.sampler.chunk == 0
    seen, masked, encoder = look(networks.codec, chunk.frames, masks.pixel, state.encoder, first)
    ref_latent = jnp.where(first, seen[:, :1], state.ref_latent)
    mouth = steady_mouth.remember(state.mouth, seen, state.sampler.chunk) if preset.steady_mouth else None
    shown = seen if mouth is None else steady_mouth.show(seen, mouth)
    condition = causal.ChunkCondition(ref_latent, masked, shown, listen(networks.ear, chunk.audio, first))
    noise = causal.chunk_noise(key, state.sampler.chunk, seen.shape, len(preset.t_list) - 1)
    sampler, predictions = causal.step(
        networks.dit, text, preset.window, preset.t_list, masks.latent, state.sampler, condition, noise
    )
    following = placement.of_stream(StreamState(sampler, encoder, state.drawing, ref_latent, mouth))
    return following, Sketch(predictions[-1], seen, chunk.frames, first)


def finish(
    networks: Networks, preset: Preset, drawing: Drawing, sketch: Sketch
) -> tuple[Drawing, Float[Array, "b t s s 3"]]:
    """The second part of a step: what it remembers, and the chunk's frames in [0, 1]."""
    if not preset.keep_detail:
        frames, decoder = draw(networks.codec, sketch.made, drawing.decoder, sketch.first)
        return drawing._replace(decoder=decoder), frames
    both = jnp.concatenate([sketch.made, sketch.seen])
    drawn, decoder = draw(networks.codec, both, drawing.decoder, sketch.first)
    generated, reconstruction = jnp.split(drawn, 2)
    source = sketch.frames.astype(generated.dtype) / 255
    mouths = recall.remember(recall.forgotten(drawing.mouths, sketch.first), reconstruction, source)
    frames = detail.restore(generated, reconstruction, source, recall.recall(mouths, generated))
    return Drawing(decoder, placement.by_clips(mouths)), frames


def step(
    networks: Networks, preset: Preset, masks: Masks, text: KeyValues, state: StreamState, chunk: Chunk, key: Array
) -> tuple[StreamState, Float[Array, "b t s s 3"]]:
    """Advances the clip by one chunk; the result is in [0, 1] at the chunk's own frames. `key`: see `denoise`."""
    state, sketch = denoise(networks, preset, masks, text, state, chunk, key)
    drawing, frames = finish(networks, preset, state.drawing, sketch)
    return state._replace(drawing=drawing), frames


def run(
    networks: Networks, preset: Preset, masks: Masks, text: KeyValues, state: StreamState, chunks: Chunk, key: Array
) -> tuple[StreamState, Float[Array, "k b t s s 3"]]:
    """A whole clip: `step` over chunks stacked on a leading axis."""
    return jax.lax.scan(lambda s, c: step(networks, preset, masks, text, s, c, key), state, chunks)
