"""The student's gradient: one VJP per chunk of its exit step, with the past that the step really saw.

Gradients flow through the exit steps only; the cached past, earlier steps and re-noised inputs are constants (spec
training 2.4). So chunks are coupled by their shared parameters alone, the sum over chunks is exact, and only one
chunk's activations exist at a time. The past is made again from the rollout's results as the chunks go by, by the pass
that made it first: kept for every chunk it would be 23 GB a clip at full size.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import per_sample
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition, by_chunk
from lipforcing_jax.distill.rollout import Rollout
from lipforcing_jax.models.conditioning import condition_channels
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.models.remat import Remat
from lipforcing_jax.parallel.sharding import constrain_parameters
from lipforcing_jax.sampling import cache as kv_cache
from lipforcing_jax.sampling import causal
from lipforcing_jax.sampling.causal import SamplerState


def gradient(
    base: Base,
    student: nnx.State,
    made: Rollout,
    condition: Condition,
    cotangent: Float[Array, "b t h w c"],
    window: WindowConfig,
    *,
    remat: Remat = True,
) -> nnx.State:
    """Gradient with respect to the student's trained part of a loss whose gradient with respect to `made.x0` is given.

    Args:
      made: a rollout of this student under this condition. Samples of it whose numbers, condition or cotangent are
        not finite give no gradient.
      remat: how blocks are recomputed (`DiT.__call__`); `zeroed_past` for the reference's gradient.
    """
    made, condition, cotangent = without_bad_samples(made, condition, cotangent)
    batch, frames, *grid = made.x0.shape
    model = base.join(jax.lax.stop_gradient(student))
    text = model.text_keys(condition.text)
    state = causal.start(model, window, batch, *grid[:2], made.x0.dtype, frames)

    def one(carried, given):
        total, state = carried
        told, x, x0, pull = given
        cache = causal.remember(model, text, window, state)
        channels = condition_channels(told.ref_latent, condition.mask, told.masked_video, told.ref_sequence)
        level = jnp.broadcast_to(made.exit_level, (batch, 1))
        positions = kv_cache.query_positions(cache, state.chunk * window.chunk, window)

        def exit_step(student):
            model = base.join(student)
            text, past = model.text_keys(condition.text), kv_cache.past(cache, window)
            velocity, _ = model(x, channels, level, text, told.audio, positions=positions, past=past, remat=remat)
            return flow.flow_to_x0(x, velocity, level)

        again, pullback = jax.vjp(exit_step, student)
        total = jax.tree.map(jnp.add, total, constrain_parameters(pullback(pull.astype(again.dtype))[0]))
        return (total, SamplerState(state.chunk + 1, cache, x0, channels, told.audio)), None

    zeros = constrain_parameters(jax.tree.map(jnp.zeros_like, student))
    results, pulls = by_chunk(made.x0, window.chunk), by_chunk(cotangent, window.chunk)
    given = (condition.chunks(window.chunk), made.exit_inputs, results, pulls)
    return jax.lax.scan(one, (zeros, state), given)[0][0]


def finite_samples(made: Rollout, condition: Condition) -> Bool[Array, " b"]:
    """Which clips of a rollout may take part in an update."""
    return condition.finite() & per_sample.finite(made.x0)


def without_bad_samples(
    made: Rollout, condition: Condition, cotangent: Float[Array, "b t h w c"]
) -> tuple[Rollout, Condition, Float[Array, "b t h w c"]]:
    """Zeros in place of everything that belongs to a sample with a number that is not finite."""
    keep = finite_samples(made, condition) & per_sample.finite(cotangent)
    made = made._replace(
        x0=per_sample.neutral(keep, made.x0), exit_inputs=per_sample.neutral(keep, made.exit_inputs, axis=1)
    )
    return made, condition.neutral(keep), per_sample.neutral(keep, cotangent)


def zeroed_past(block: Callable) -> Callable:
    """A block that is differentiated as if its past were zero, at the input that it really had; for `remat`.

    The reference empties its caches before the backward pass recomputes the blocks (spec training, trap T1). This
    reproduces its gradient for comparison; training has no use for it.
    """

    def around(hidden, layer):
        *rest, past = layer
        real = jax.lax.stop_gradient(block(hidden, layer))
        emptied = jax.checkpoint(block)(hidden, (*rest, jax.tree.map(jnp.zeros_like, past)))
        # The difference is exactly zero; only its derivative counts.
        return jax.tree.map(lambda value, slope: value + (slope - jax.lax.stop_gradient(slope)), real, emptied)

    return around
