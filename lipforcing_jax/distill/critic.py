"""The critic learns to denoise what the student makes (spec training 2.5)."""

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
from lipforcing_jax.parallel.sharding import constrain_parameters


class CriticLoss(NamedTuple):
    """Mean over the finite samples, and which those were."""

    loss: Float[Array, ""]
    kept: Bool[Array, " b"]


def loss(
    base: Base,
    critic: nnx.State,
    x0: Float[Array, "b t h w c"],
    t: Float[Array, " b"],
    eps: Float[Array, "b t h w c"],
    condition: Condition,
    *,
    remat: Remat = True,
) -> CriticLoss:
    """mean((x0_hat - x0)^2) of the re-noised rollout `x0`: in x0 space, neither halved nor weighted by t.

    Samples that are not finite are left out.
    """
    keep = condition.finite() & per_sample.finite(x0)
    x0 = per_sample.neutral(keep, x0)
    x_t = flow.add_noise(x0, eps, t)
    guess = predict_x0(base.join(critic), x_t, t, condition.neutral(keep), remat=remat)
    wide = jnp.promote_types(x0.dtype, jnp.float32)
    squared = (guess.astype(wide) - x0.astype(wide)) ** 2
    return CriticLoss(per_sample.kept_mean(per_sample.mean(squared), keep), keep)


def gradient(base: Base, critic: nnx.State, *inputs, **options) -> tuple[CriticLoss, nnx.State]:
    """`loss` and its gradient with respect to the critic's trained part."""

    def scalar(critic):
        found = loss(base, critic, *inputs, **options)
        return found.loss, found

    gradients, found = jax.grad(scalar, has_aux=True)(critic)
    return found, constrain_parameters(gradients)
