"""The one idea of the project: a pure step that takes one chunk of video and sound and returns the spoken frames.

    step(networks, preset, masks, text, state, chunk, key) -> (state, frames)

Live mode calls it as frames arrive; file mode is `lax.scan` of it (`run`). Nothing else advances a clip, so the two
agree bit for bit. A chunk is 12 aligned frames at 25 fps; the clip begins with three copies of its first frame
(`sampling.plan.LEAD`), whose results the caller drops.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from lipforcing_jax.models.audio import LogMelEncoder, context, encode_window
from lipforcing_jax.models.conditioning import FRAMES_PER_LATENT
from lipforcing_jax.models.dit import DiT, KeyValues
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.models.tiny_vae import Memory, TinyVAE
from lipforcing_jax.sampling import causal, detail
from lipforcing_jax.sampling.plan import LEAD


class Networks(NamedTuple):
    """The trained parts of a preset."""

    dit: DiT
    vae: TinyVAE
    ear: LogMelEncoder


class Masks(NamedTuple):
    """Where the picture is kept (1) and generated (0), for pixels and for latent cells."""

    pixel: Float[Array, "s s"]
    latent: Float[Array, "h w"]


class Chunk(NamedTuple):
    """Input of one step: aligned frames, and the sound around them (`audio_window` samples)."""

    frames: UInt8[Array, "b t s s 3"]
    audio: Float[Array, "b n"]


class StreamState(NamedTuple):
    """Everything a clip carries from chunk to chunk."""

    sampler: causal.SamplerState
    encoder: Memory
    decoder: Memory
    ref_latent: Float[Array, "b 1 h w c"]


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
    cells = size // preset.tiny_vae.space_factor
    return StreamState(
        causal.start(networks.dit, preset.window, batch, cells, cells),
        # Both source streams, as they are and masked, go through the encoder as one batch of two.
        networks.vae.encoder.memory(2 * batch, size, size),
        # The decoder draws the source beside the result where its lost detail is to be given back.
        networks.vae.decoder.memory(batch * (2 if preset.keep_detail else 1), cells, cells),
        jnp.zeros((batch, 1, cells, cells, preset.tiny_vae.latent_channels)),
    )


def constant_text(networks: Networks, preset: Preset, batch: int = 1) -> KeyValues:
    """Cross-attention keys and values of the fixed prompt; a preset without a text encoder has the zero prompt."""
    return networks.dit.text_keys(jnp.zeros((batch, preset.dit.text_len, preset.dit.text_dim)))


def listen(ear: LogMelEncoder, audio: Float[Array, "b n"], first: Array) -> Float[Array, "b t 4a"]:
    """Features of the chunk's frames, grouped by latent frame; in the first chunk the lead-in repeats frame 0."""
    features = encode_window(ear, audio)
    led = jnp.concatenate([jnp.repeat(features[:, LEAD : LEAD + 1], LEAD, axis=1), features[:, LEAD:]], axis=1)
    features = jnp.where(first, led, features)
    return features.reshape(features.shape[0], -1, FRAMES_PER_LATENT * features.shape[-1])


def look(vae: TinyVAE, frames: UInt8[Array, "b t s s 3"], mask: Float[Array, "s s"], memory: Memory):
    """Latents of the frames and of the frames with the mouth greyed out, and the encoder's memory."""
    pixels = frames.astype(jnp.float32) / 255
    # Masked pixels become mid-grey: zero in the reference's [-1, 1] (spec inference, trap T4).
    greyed = 0.5 + (pixels - 0.5) * mask[None, None, :, :, None]
    latents, memory = vae.encode(jnp.concatenate([pixels, greyed]), memory)
    seen, masked = jnp.split(latents, 2)
    return seen, masked, memory


def step(
    networks: Networks, preset: Preset, masks: Masks, text: KeyValues, state: StreamState, chunk: Chunk, key: Array
) -> tuple[StreamState, Float[Array, "b t s s 3"]]:
    """Advances the clip by one chunk; the result is in [0, 1] at the chunk's own frames.

    `key` is the clip's key: the noise of chunk k comes from `fold_in(key, k)`.
    """
    seen, masked, encoder = look(networks.vae, chunk.frames, masks.pixel, state.encoder)
    first = state.sampler.chunk == 0
    ref_latent = jnp.where(first, seen[:, :1], state.ref_latent)
    condition = causal.ChunkCondition(ref_latent, masked, seen, listen(networks.ear, chunk.audio, first))
    noise = causal.chunk_noise(key, state.sampler.chunk, seen.shape, len(preset.t_list) - 1)
    sampler, predictions = causal.step(
        networks.dit, text, preset.window, preset.t_list, masks.latent, state.sampler, condition, noise
    )
    if preset.keep_detail:
        drawn, decoder = networks.vae.decode(jnp.concatenate([predictions[-1], seen]), state.decoder)
        frames = detail.restore(*jnp.split(drawn, 2), chunk.frames.astype(jnp.float32) / 255)
    else:
        frames, decoder = networks.vae.decode(predictions[-1], state.decoder)
    return StreamState(sampler, encoder, decoder, ref_latent), frames


def run(
    networks: Networks, preset: Preset, masks: Masks, text: KeyValues, state: StreamState, chunks: Chunk, key: Array
) -> tuple[StreamState, Float[Array, "k b t s s 3"]]:
    """A whole clip: `step` over chunks stacked on a leading axis."""
    return jax.lax.scan(lambda s, c: step(networks, preset, masks, text, s, c, key), state, chunks)
