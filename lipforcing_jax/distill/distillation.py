"""The state of stage 2 and how it advances: the critic at every update, the student at every fifth (spec training 2.3).

Gradients come from `self_forcing`; here they become updates. Student and critic have optimisers of their own, and each
optimiser counts its own updates.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int

from lipforcing_jax.distill.reward import RunningMean, no_rewards_yet


class Distillation(NamedTuple):
    """Trained parts, optimiser memories, the running mean of the rewards, and the number of updates made."""

    step: Int[Array, ""]
    student: nnx.State
    critic: nnx.State
    student_memory: optax.OptState
    critic_memory: optax.OptState
    rewards: RunningMean


class Optimisers(NamedTuple):
    """One for each of the two that learn. The release clips the student's gradients only."""

    student: optax.GradientTransformation
    critic: optax.GradientTransformation


def create(student: nnx.State, critic: nnx.State, optimisers: Optimisers) -> Distillation:
    """State before the first update; its arrays are its own."""
    student, critic = (jax.tree.map(jnp.array, part) for part in (student, critic))
    memories = optimisers.student.init(student), optimisers.critic.init(critic)
    return Distillation(jnp.zeros((), jnp.int32), student, critic, *memories, no_rewards_yet())


@partial(jax.jit, donate_argnums=0)
def add(total: nnx.State, gradients: nnx.State) -> nnx.State:
    """Sum of gradients over the batches of an update."""
    return jax.tree.map(jnp.add, total, gradients)


@partial(jax.jit, static_argnames="optimisers", donate_argnums=0)
def update(
    state: Distillation,
    critic_gradients: nnx.State,
    student_gradients: nnx.State | None,
    rewards: RunningMean,
    scales: tuple[float, float],
    optimisers: Optimisers,
) -> tuple[Distillation, dict[str, Array]]:
    """The state after an update; the student stays as it is where it has no gradients.

    Args:
      scales: factors of the critic's and the student's summed gradients, 1 / batches for their mean.

    Gradients that are not finite as a whole change nothing and are counted.
    """
    critic, critic_memory, metrics = _apply(
        "critic", optimisers.critic, critic_gradients, scales[0], state.critic, state.critic_memory
    )
    student, student_memory = state.student, state.student_memory
    if student_gradients is not None:
        student, student_memory, more = _apply(
            "student", optimisers.student, student_gradients, scales[1], student, student_memory
        )
        metrics |= more
    return Distillation(state.step + 1, student, critic, student_memory, critic_memory, rewards), metrics


def _apply(name: str, optimiser, gradients, scale, params, memory):
    """One optimiser's step, the gradient's norm before its clip, and whether it was left out."""
    gradients = jax.tree.map(lambda g: g * scale, gradients)
    norm = optax.tree.norm(gradients)
    fine = jnp.isfinite(norm)
    updates, advanced = optimiser.update(gradients, memory, params)
    chosen = jax.tree.map(
        lambda new, old: jnp.where(fine, new, old), (optax.apply_updates(params, updates), advanced), (params, memory)
    )
    return *chosen, {f"{name}_grad_norm": norm, f"skipped_{name}_updates": 1 - fine.astype(jnp.int32)}
