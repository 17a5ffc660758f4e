"""Other mouths for a student to draw over, where its source's lips are held (`sampling/steady_mouth.py`).

What is held is a mean over a second, a mouth half open for most drawn talkers. Filmed people can smile or shout for
longer, and such a mouth, held, was not closed. So every clip's held lips are moved towards those of one of its frames,
and beyond: now more open, now more closed than its mean.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipforcing_jax.media.mouth_mask import lips_cells


def other_mouth(
    shown: Float[Array, "b t h w c"], source: Float[Array, "b t h w c"], key: Array, reach: float
) -> Float[Array, "b t h w c"]:
    """What is shown, with other lips for the whole clip; all else stays.

    Args:
      shown: the source's latents with held lips. source: the same as they are.
      reach: up to how many times the step from the clip's mean to the lips of a frame is added; 1 ends at those lips.
    """
    key_frame, key_step = jax.random.split(key)
    batch, frames = source.shape[:2]
    chosen = jax.random.randint(key_frame, (batch,), 0, frames)
    away = source[jnp.arange(batch), chosen][:, None] - source.mean(axis=1, keepdims=True)
    step = jax.random.uniform(key_step, (batch, 1, 1, 1, 1), source.dtype, maxval=reach)
    return jnp.where(lips_cells(source.shape[2])[:, :, None], shown + step * away, shown)
