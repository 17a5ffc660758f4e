"""The rolling key-value cache as an explicit value.

It holds just the frames that the next chunk may see beside its own: `window - chunk` of them (the reference's buffer
also keeps the current chunk, which nobody reads from it; spec network 6.4 allows any form that gives the same list).
Keys are stored before rotation, so one buffer serves window-local and absolute positions.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lipforcing_jax.models.dit import KeyValues, Past
from lipforcing_jax.models.presets import DiTConfig, WindowConfig


class KVCache(NamedTuple):
    """Keys and values of past frames in window order; `frames` are absolute indices, `length` how many are real."""

    k: Float[Array, "layers b slots tokens heads d"]
    v: Float[Array, "layers b slots tokens heads d"]
    frames: Int[Array, " slots"]
    length: Int[Array, ""]


def capacity(window: WindowConfig, latent_frames: int | None) -> int:
    """Slots needed; an unlimited window needs to know the clip's length."""
    if window.window > 0:
        return window.window - window.chunk
    if latent_frames is None:
        raise ValueError("an unlimited attention window needs the clip's length in latent frames")
    return latent_frames - window.chunk


def empty(
    cfg: DiTConfig, window: WindowConfig, batch: int, tokens: int, dtype, latent_frames: int | None = None
) -> KVCache:
    """A cache that has seen nothing. `tokens` is the number of tokens of one latent frame."""
    slots = capacity(window, latent_frames)
    shape = (cfg.num_layers, batch, slots, tokens, cfg.num_heads, cfg.head_dim)
    zeros = jnp.zeros(shape, dtype)
    return KVCache(zeros, zeros, jnp.full((slots,), -1, jnp.int32), jnp.zeros((), jnp.int32))


def past(cache: KVCache, window: WindowConfig) -> Past:
    """The cache as attention sees it: flat tokens, rotary positions, and which slots are real."""
    slots = cache.frames.shape[0]
    order = jnp.arange(slots, dtype=jnp.int32)
    positions = order if window.dynamic_rope else jnp.maximum(cache.frames, 0)
    flat = (*cache.k.shape[:2], slots * cache.k.shape[3], *cache.k.shape[4:])
    return Past(KeyValues(cache.k.reshape(flat), cache.v.reshape(flat)), positions, order < cache.length)


def query_positions(cache: KVCache, start: Int[Array, ""], window: WindowConfig) -> Int[Array, " chunk"]:
    """Rotary positions of the chunk that begins at latent frame `start`."""
    first = cache.length if window.dynamic_rope else start
    return first + jnp.arange(window.chunk, dtype=jnp.int32)


def write(cache: KVCache, kv: KeyValues, start: Int[Array, ""], window: WindowConfig) -> KVCache:
    """Appends a chunk's clean keys and values; when full, keeps the sink and the newest frames.

    Must be called exactly once per chunk, in order.
    """
    slots, chunk = cache.frames.shape[0], window.chunk
    total = cache.length + chunk
    slot = jnp.arange(slots, dtype=jnp.int32)
    # Frame number in the sequence "what was held, then the new chunk" that lands in each slot ...
    logical = jnp.where((total <= slots) | (slot < window.sink), slot, total - slots + slot)
    # ... and where that frame lies in the concatenation of the padded buffer and the chunk.
    source = jnp.where(logical < cache.length, logical, slots + logical - cache.length)
    source = jnp.minimum(source, slots + chunk - 1)

    def roll(held, new):
        new = new.reshape(*held.shape[:2], chunk, *held.shape[3:]).astype(held.dtype)
        return jnp.take(jnp.concatenate([held, new], axis=2), source, axis=2)

    fresh = start + jnp.arange(chunk, dtype=jnp.int32)
    frames = jnp.take(jnp.concatenate([cache.frames, fresh]), source)
    length = jnp.minimum(total, slots)
    return KVCache(roll(cache.k, kv.k), roll(cache.v, kv.v), jnp.where(slot < length, frames, -1), length)
