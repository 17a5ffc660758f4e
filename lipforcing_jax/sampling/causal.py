"""The causal chunk sampler: one pure step, called by a scan for files and one chunk at a time for streams.

Per chunk (spec network 6.7): noise -> x0 at t = 0.999 -> fresh noise -> x0 at 0.769, the output. The pass over the
clean result that fills the cache is put off to the beginning of the next step: the first frames do not wait for it and
the last chunk never pays for it. It computes keys and values only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lipforcing_jax import flow
from lipforcing_jax.models.conditioning import condition_channels
from lipforcing_jax.models.dit import DiT, KeyValues
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.sampling import cache as kv_cache
from lipforcing_jax.sampling.cache import KVCache


class ChunkCondition(NamedTuple):
    """What one chunk is told: the stream's reference frame, both latent streams of the source, and the sound."""

    ref_latent: Float[Array, "b 1 h w c"]
    masked_video: Float[Array, "b chunk h w c"]
    ref_sequence: Float[Array, "b chunk h w c"]
    audio: Float[Array, "b chunk 4a"]


class SamplerState(NamedTuple):
    """Everything that a stream carries from chunk to chunk. Nothing else survives between calls."""

    chunk: Int[Array, ""]
    cache: KVCache
    clean: Float[Array, "b chunk h w c"]
    condition: Float[Array, "b chunk h w y"]
    audio: Float[Array, "b chunk 4a"]


def start(
    model: DiT, window: WindowConfig, batch: int, height: int, width: int, dtype=jnp.float32, latent_frames=None
) -> SamplerState:
    """State before the first chunk. `height` and `width` are those of the latent grid.

    Latents are kept in `dtype`, keys and values in the network's own dtype if it has one. `latent_frames` is needed
    only for an unlimited attention window.
    """
    cfg = model.cfg
    tokens = (height // cfg.patch[1]) * (width // cfg.patch[2])
    grid = (height, width)
    return SamplerState(
        chunk=jnp.zeros((), jnp.int32),
        cache=kv_cache.empty(cfg, window, batch, tokens, model.dtype or dtype, latent_frames),
        clean=jnp.zeros((batch, window.chunk, *grid, cfg.latent_channels), dtype),
        condition=jnp.zeros((batch, window.chunk, *grid, cfg.in_dim - cfg.latent_channels), dtype),
        audio=jnp.zeros((batch, window.chunk, 4 * cfg.audio_dim), dtype),
    )


def chunk_noise(key: Array, chunk: Int[Array, ""], shape: tuple[int, ...], steps: int, dtype=jnp.float32) -> Array:
    """Noise of one chunk, [steps, *shape]: the start and one fresh draw per further step.

    The key of chunk k is `fold_in(key, k)`, so a stream of any length and the same clip cut shorter agree.
    """
    return jax.random.normal(jax.random.fold_in(key, chunk), (steps, *shape), dtype)


def clean_keys(model: DiT, text: KeyValues, window: WindowConfig, state: SamplerState) -> KeyValues:
    """The clean-context pass: keys and values of the last chunk's result at t = 0."""
    first = (state.chunk - 1) * window.chunk
    level = jnp.zeros((state.clean.shape[0], 1), flow_dtype(state.clean))
    positions = kv_cache.query_positions(state.cache, first, window)
    past = kv_cache.past(state.cache, window)
    return model(
        state.clean, state.condition, level, text, state.audio, positions=positions, past=past, head=False
    )[1]


def remember(model: DiT, text: KeyValues, window: WindowConfig, state: SamplerState) -> KVCache:
    """The cache after the last chunk; unchanged before the first."""

    def write(state: SamplerState) -> KVCache:
        kv = clean_keys(model, text, window, state)
        return kv_cache.write(state.cache, kv, (state.chunk - 1) * window.chunk, window)

    return jax.lax.cond(state.chunk > 0, write, lambda state: state.cache, state)


def flow_dtype(latent: Array) -> jnp.dtype:
    """Noise levels live in float32 at least, whatever the network computes in."""
    return jnp.promote_types(latent.dtype, jnp.float32)


def step(
    model: DiT,
    text: KeyValues,
    window: WindowConfig,
    t_list: tuple[float, ...],
    mask: Float[Array, "h w"],
    state: SamplerState,
    chunk: ChunkCondition,
    noise: Float[Array, "steps b chunk h w c"],
) -> tuple[SamplerState, Float[Array, "steps b chunk h w c"]]:
    """Advances the stream by one chunk.

    Args:
      mask: 1 keep, 0 generate, at latent resolution. t_list: noise levels ending in 0.
      noise: `chunk_noise`, or given numbers in a parity test; noise[0] is used at unit scale.

    Returns:
      the next state and the x0 prediction of every denoising step; the last one is the chunk's result.
    """
    cache = remember(model, text, window, state)
    condition = condition_channels(chunk.ref_latent, mask, chunk.masked_video, chunk.ref_sequence)
    positions = kv_cache.query_positions(cache, state.chunk * window.chunk, window)
    past = kv_cache.past(cache, window)
    predictions, x = [], noise[0]
    for i, t in enumerate(t_list[:-1]):
        level = jnp.full((x.shape[0], 1), t, flow_dtype(x))
        velocity, _ = model(x, condition, level, text, chunk.audio, positions=positions, past=past)
        x0 = flow.flow_to_x0(x, velocity, level)
        predictions.append(x0)
        if i + 2 < len(t_list):
            x = flow.add_noise(x0, noise[i + 1], jnp.full((x.shape[0], 1), t_list[i + 1], flow_dtype(x)))
    following = SamplerState(state.chunk + 1, cache, predictions[-1], condition, chunk.audio)
    return following, jnp.stack(predictions)
