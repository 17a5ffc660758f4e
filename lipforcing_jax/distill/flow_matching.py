"""Flow matching: the bidirectional teacher learns to denoise whole clips at one level each (spec network 7, 8.1).

The teacher of the paper is given; this loss makes one. A share of the clips is trained under the negative condition, so
that guidance has something to lead away from.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import per_sample
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition, predict_x0
from lipforcing_jax.models.remat import Remat

LEAST_DIVISOR = 0.5
"""Bound of the level by which an x0 error is divided. The error of a flow is that of x0 over t. A network that predicts
x0 has about the same error at all levels while it is young, so with a small bound the few almost clean clips make up
half of the loss and most of its noise (at 0.2, 5 % of the draws); at 0.5 the loss is the flow's for five draws in six
and that of x0, four times, for the others."""


class Draws(NamedTuple):
    """What chance decides for every clip of an update: its level, its noise, and whether it is told nothing."""

    t: Float[Array, " b"]
    eps: Float[Array, "b t h w c"]
    dropped: Bool[Array, " b"]


def draw(key: Array, shape: tuple[int, ...], drop_share: float, shift: float = 5.0) -> Draws:
    """Levels of the shifted distribution that distribution matching will ask about (spec training 0.2)."""
    key_t, key_eps, key_drop = jax.random.split(key, 3)
    t = flow.shifted_t(jax.random.uniform(key_t, shape[:1]), shift)
    return Draws(t, jax.random.normal(key_eps, shape), jax.random.bernoulli(key_drop, drop_share, shape[:1]))


def loss(
    base: Base,
    trained: nnx.State,
    target: Float[Array, "b t h w c"],
    condition: Condition,
    key: Array,
    *,
    negative_text: Float[Array, "1 l d"],
    drop_share: float = 0.1,
    keep_weight: float = 1.0,
    channel_weights: Float[Array, " c"] | float = 1.0,
    remat: Remat = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """mean((v_hat - v)^2) of one update, with the weight of small levels bounded by `LEAST_DIVISOR`.

    Args:
      negative_text: what the clips of `drop_share` are told in place of their text; their sound is all zero.
      keep_weight: weight of the cells that are kept; their picture is given.
      channel_weights: weight of each latent channel, about 1; for latents that are whitened, as nano's.

    Returns:
      the loss and, as metrics, the x0 error of the generated cells and the number of samples that were left out
      because they are not finite.
    """
    keep = condition.finite() & per_sample.finite(target)
    target, condition = per_sample.neutral(keep, target), condition.neutral(keep)
    draws = draw(key, target.shape, drop_share)
    told = untold(condition, negative_text, draws.dropped)
    x_t = flow.add_noise(target, draws.eps.astype(target.dtype), draws.t)
    guess = predict_x0(base.join(trained), x_t, draws.t, told, remat=remat)
    wide = jnp.promote_types(target.dtype, jnp.float32)
    squared = jnp.mean((guess.astype(wide) - target.astype(wide)) ** 2 * channel_weights, axis=-1)
    weights = jnp.where(condition.mask > 0.5, keep_weight, 1.0)
    errors = per_sample.mean(squared * weights) / jnp.maximum(draws.t, LEAST_DIVISOR) ** 2
    metrics = {"mouth_error": generated_error(squared, condition.mask, keep), "skipped_samples": jnp.sum(~keep)}
    return per_sample.kept_mean(errors, keep), metrics


def untold(condition: Condition, negative_text: Float[Array, "1 l d"], dropped: Bool[Array, " b"]) -> Condition:
    """The condition with the negative one in place of the dropped samples'."""
    negative, chosen = condition.negative(negative_text), dropped[:, None, None]
    return condition._replace(
        text=jnp.where(chosen, negative.text, condition.text), audio=jnp.where(chosen, negative.audio, condition.audio)
    )


def generated_error(
    squared: Float[Array, "b t h w"], mask: Float[Array, "h w"], keep: Bool[Array, " b"]
) -> Float[Array, ""]:
    """Mean x0 error of the generated cells of the kept samples."""
    generated = jnp.where(mask > 0.5, 0.0, 1.0)
    return per_sample.kept_mean(per_sample.mean(squared * generated) / jnp.mean(generated), keep)
