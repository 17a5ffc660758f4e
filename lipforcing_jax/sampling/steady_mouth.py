"""The source's mouth, held steady: a network is shown its mean over the last chunks in place of its movement.

What the source's mouth does says nothing about the mouth to be drawn, but a small network that predicts what has to be
added to its source copies some of it until it has trained for long. Only the cells of the lips are held: the mean of a
head that moves has two jaws. Everything else is shown as it is, and what is shown of a chunk depends on no later one.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lipforcing_jax.media.mouth_mask import lips_cells

MEMORY = 2
"""Chunks, about a second: longer than a syllable, short beside a turn of the head."""


def remember(
    mean: Float[Array, "b 1 h w c"], seen: Float[Array, "b t h w c"], chunk: Int[Array, ""]
) -> Float[Array, "b 1 h w c"]:
    """The mean of the source's latents up to this chunk, in which old chunks fade once there are `MEMORY` of them.

    Args:
      mean: the same before this chunk; no matter what before the first one.
      seen: the chunk's latents. chunk: its number, from 0.
    """
    share = jnp.maximum(1 / (chunk + 1), 1 / MEMORY).astype(seen.dtype)
    now = seen.mean(axis=1, keepdims=True)
    return jnp.where(chunk == 0, now, mean + share * (now - mean))


def show(seen: Float[Array, "b t h w c"], mean: Float[Array, "b 1 h w c"]) -> Float[Array, "b t h w c"]:
    """The chunk's latents, of an aligned face, with the mean's lips in every frame."""
    return jnp.where(lips_cells(seen.shape[2])[:, :, None], mean, seen)


def hold(sequence: Float[Array, "b t h w c"], chunk: int) -> Float[Array, "b t h w c"]:
    """A whole clip as its chunks of `chunk` latent frames are shown one after the other."""
    mean, shown = jnp.zeros_like(sequence[:, :1]), []
    for k, first in enumerate(range(0, sequence.shape[1], chunk)):
        seen = sequence[:, first : first + chunk]
        mean = remember(mean, seen, jnp.asarray(k))
        shown.append(show(seen, mean))
    return jnp.concatenate(shown, axis=1)
