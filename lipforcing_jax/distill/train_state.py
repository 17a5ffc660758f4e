"""The state of a training run and the step that advances it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

Params = Any
Loss = Callable[..., tuple[Array, dict[str, Array]]]
"""`(params, batch, key, *fixed) -> (value, metrics)`; what is fixed never changes and never meets a gradient."""


class TrainState(NamedTuple):
    """Parameters, their moving average (None if none is kept), the optimiser's memory, the number of updates made."""

    step: Int[Array, ""]
    params: Params
    average: Params
    opt_state: optax.OptState


def create(params: Params, optimiser: optax.GradientTransformation, averaged: bool = True) -> TrainState:
    """State before the first update; the average starts as the parameters."""
    average = jax.tree.map(jnp.array, params) if averaged else None
    return TrainState(jnp.zeros((), jnp.int32), params, average, optimiser.init(params))


def adamw(peak: float, steps: int, warmup: int, weight_decay: float, clip: float) -> optax.GradientTransformation:
    """AdamW under a linear warm-up and cosine decay, gradients clipped by their global norm.

    The warm-up takes at most half of the run, so that a short trial needs no other settings.
    """
    warmup = min(warmup, steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps, peak * 0.02)
    return optax.chain(
        optax.clip_by_global_norm(clip), optax.adamw(schedule, b1=0.9, b2=0.99, weight_decay=weight_decay)
    )


def make_step(loss: Loss, optimiser: optax.GradientTransformation, average_decay: float | None, *fixed):
    """`(state, draws, key) -> (state, metrics)`: `step` on the stacked batches of `draws`."""
    advance = partial(step, loss=loss, optimiser=optimiser, average_decay=average_decay)

    def stack(*leaves):
        """On the host where they are there; arrays of several devices stay where they are."""
        return (jnp if isinstance(leaves[0], jax.Array) else np).stack(leaves)

    return lambda state, draws, key: advance(state, jax.tree.map(stack, *draws), key, fixed)


@partial(jax.jit, static_argnames=("loss", "optimiser", "average_decay"), donate_argnums=0)
def step(
    state: TrainState,
    stacked: Any,
    key: Array,
    fixed: tuple = (),
    *,
    loss: Loss,
    optimiser: optax.GradientTransformation,
    average_decay: float | None,
) -> tuple[TrainState, dict[str, Array]]:
    """One update by the mean gradient of `loss(params, batch, key, *fixed)` over batches stacked on a leading axis.

    The batches are scanned, so that the activations of one exist at a time. An update whose gradient is not finite is
    left out and counted in `metrics["skipped_updates"]`.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)

    def add(total, draw):
        index, batch = draw
        (value, metrics), gradients = differentiate(state.params, batch, jax.random.fold_in(key, index), *fixed)
        return jax.tree.map(jnp.add, total, gradients), metrics | {"loss": value}

    count, nothing = jax.tree.leaves(stacked)[0].shape[0], jax.tree.map(jnp.zeros_like, state.params)
    if count == 1:  # XLA's CPU kernels for the gradients of convolutions are 20 times as slow inside a loop
        total, metrics = add(nothing, (0, jax.tree.map(lambda x: x[0], stacked)))
        metrics = jax.tree.map(lambda m: m[None], metrics)
    else:
        total, metrics = jax.lax.scan(add, nothing, (jnp.arange(count), stacked))
    gradients = jax.tree.map(lambda g: g / count, total)
    state, facts = update(state, gradients, optimiser, average_decay)
    summed = {name: (jnp.sum if name.startswith("skipped") else jnp.mean)(m, axis=0) for name, m in metrics.items()}
    return state, summed | facts


def update(
    state: TrainState, gradients: Params, optimiser: optax.GradientTransformation, average_decay: float | None
) -> tuple[TrainState, dict[str, Array]]:
    """The state after an update by these gradients, or as it was if they are not finite."""
    norm = optax.tree.norm(gradients)
    fine = jnp.isfinite(norm)
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if average_decay is not None:
        # A young average follows quickly: the usual warm-up of (1 + n) / (10 + n).
        decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
        average = optax.incremental_update(params, average, 1 - decay)
    advanced = TrainState(state.step + 1, params, average, opt_state)
    kept = state._replace(step=state.step + 1)
    state = jax.tree.map(lambda new, old: jnp.where(fine, new, old), advanced, kept)
    return state, {"grad_norm": norm, "skipped_updates": 1 - fine.astype(jnp.int32)}
