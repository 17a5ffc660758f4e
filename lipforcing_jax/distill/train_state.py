"""The state of a training run and the step that advances it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

Params = Any
Loss = Callable[[Params, Any, Array], tuple[Array, dict[str, Array]]]


class TrainState(NamedTuple):
    """Parameters, their moving average, the optimiser's memory and the number of updates made."""

    step: Int[Array, ""]
    params: Params
    average: Params
    opt_state: optax.OptState


def create(params: Params, optimiser: optax.GradientTransformation) -> TrainState:
    """State before the first update; the average starts as the parameters."""
    return TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.array, params), optimiser.init(params))


def adamw(peak: float, steps: int, warmup: int, weight_decay: float, clip: float) -> optax.GradientTransformation:
    """AdamW under a linear warm-up and cosine decay, gradients clipped by their global norm.

    The warm-up takes at most half of the run, so that a short trial needs no other settings.
    """
    warmup = min(warmup, steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps, peak * 0.02)
    return optax.chain(
        optax.clip_by_global_norm(clip), optax.adamw(schedule, b1=0.9, b2=0.99, weight_decay=weight_decay)
    )


def make_step(loss: Loss, optimiser: optax.GradientTransformation, average_decay: float):
    """A jitted `(state, batch, key) -> (state, metrics)`.

    An update whose gradient is not finite is left out and counted in `metrics["skipped"]`.
    """

    def step(state: TrainState, batch, key: Array):
        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, batch, key)
        norm = optax.tree.norm(gradients)
        fine = jnp.isfinite(norm)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # A young average follows quickly: the usual warm-up of (1 + n) / (10 + n).
        decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
        average = optax.incremental_update(params, state.average, 1 - decay)
        advanced = TrainState(state.step + 1, params, average, opt_state)
        kept = state._replace(step=state.step + 1)
        state = jax.tree.map(lambda new, old: jnp.where(fine, new, old), advanced, kept)
        return state, metrics | {"loss": value, "grad_norm": norm, "skipped": 1 - fine.astype(jnp.int32)}

    return jax.jit(step, donate_argnums=0)
