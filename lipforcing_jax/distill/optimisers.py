"""The released optimisers: AdamW at a constant rate behind the reference's clip (spec training 1.5, 2.9)."""

import jax
import jax.numpy as jnp
import optax

CLIP_EPSILON = 1e-6
"""The reference divides by the norm plus this; a gradient just above the limit ends a little below it."""


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Numbers in place of what is none (NaN 0, infinities the largest), then g min(1, limit / (|g| + 1e-6)).

    The norm is that of all trained parameters together, in float32.
    """

    def clip(gradients, _=None):
        gradients = jax.tree.map(jnp.nan_to_num, gradients)
        norm = optax.tree.norm(jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), gradients))
        factor = jnp.minimum(1.0, limit / (norm + CLIP_EPSILON))
        return jax.tree.map(lambda g: (g * factor).astype(g.dtype), gradients)

    return optax.stateless(clip)


def adamw(
    lr: float, b1: float, b2: float, eps: float, weight_decay: float, clip_norm: float | None = None, warmup: int = 0
) -> optax.GradientTransformation:
    """AdamW with decay on everything that is trained, low-rank factors and biases too; `clip_norm` None never clips.

    `warmup` updates lead linearly up to `lr`; the releases have none.
    """
    rate = optax.linear_schedule(0.0, lr, warmup) if warmup else lr
    optimiser = optax.adamw(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return optimiser if clip_norm is None else optax.chain(clip_by_norm(clip_norm), optimiser)
