"""Gives back what the autoencoder loses, wherever the generated face says the same as the source.

A tiny autoencoder blurs skin, beard and background. The source's own reconstruction shows the same blur, so the
difference of the two decoded pictures is what the student has changed, and nothing else. Where it has changed nothing
the source's pixels return; where it has moved the mouth they must not, since old detail there would be a ghost.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SAME, DIFFERENT = 4 / 255, 14 / 255
"""Changes up to the first count as none, from the second on as full."""
REACH = 5
"""Pixels over which a change is averaged and its edge softened."""


def smooth(x: Float[Array, "b t h w"], reach: int = REACH) -> Float[Array, "b t h w"]:
    """Mean over `reach` x `reach` pixels; beyond the border the picture is taken as unchanged (0)."""
    window = (1, 1, reach, reach)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME") / reach**2


def unchanged_share(
    generated: Float[Array, "b t h w 3"], reconstruction: Float[Array, "b t h w 3"]
) -> Float[Array, "b t h w"]:
    """1 where both pictures agree, 0 where they differ, with soft edges."""
    change = smooth(jnp.abs(generated - reconstruction).max(axis=-1))
    moved = jnp.clip((change - SAME) / (DIFFERENT - SAME), 0.0, 1.0)
    # Doubling before the clip widens the moved part by half the reach, so that its rim has no ghost either.
    return 1.0 - jnp.clip(2 * smooth(moved), 0.0, 1.0)


def restore(
    generated: Float[Array, "b t h w 3"],
    reconstruction: Float[Array, "b t h w 3"],
    source: Float[Array, "b t h w 3"],
    recalled: Float[Array, "b t h w 3"] | float = 0.0,
) -> Float[Array, "b t h w 3"]:
    """The generated frames with the source's lost detail where nothing moved; everything in [0, 1].

    Equal pictures give the source itself.

    Args:
      recalled: detail for what did move (`sampling/recall.py`).
    """
    share = unchanged_share(generated, reconstruction)[..., None]
    return jnp.clip(generated + share * (source - reconstruction) + (1 - share) * recalled, 0.0, 1.0)
