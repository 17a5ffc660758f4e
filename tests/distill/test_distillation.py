"""The two optimisers of stage 2 take turns, and neither moves what is not its own."""

import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.distill import distillation, optimisers
from lipforcing_jax.distill.distillation import Optimisers

OPTIMISERS = Optimisers(
    optimisers.adamw(2e-6, 0.0, 0.999, 1e-8, 0.01, 10.0), optimisers.adamw(2e-6, 0.0, 0.999, 1e-8, 0.01)
)


def start():
    return distillation.create({"w": jnp.ones(3)}, {"w": jnp.full(3, 2.0)}, OPTIMISERS)


def counted(memory) -> int:
    """Updates that an optimiser has made."""
    import optax

    return int(optax.tree.get(memory, "count"))


def advance(state, students_turn: bool, value: float = 1.0):
    gradients = lambda: {"w": jnp.full(3, value)}  # noqa: E731
    student = gradients() if students_turn else None
    return distillation.update(state, gradients(), student, state.rewards, (1.0, 1.0), OPTIMISERS)


def test_599_updates_of_the_critic_are_119_of_the_student():
    state = start()
    for k in range(1, 600):
        state, _ = advance(state, k % 5 == 0)
    assert int(state.step) == 599
    assert (counted(state.critic_memory), counted(state.student_memory)) == (599, 119)


def test_the_student_waits_while_the_critic_learns():
    state, metrics = advance(start(), False)
    np.testing.assert_array_equal(state.student["w"], 1.0)
    assert (np.asarray(state.critic["w"]) < 2).all() and "student_grad_norm" not in metrics


def test_only_the_student_is_clipped():
    state, metrics = advance(start(), True, 100.0)
    assert float(metrics["student_grad_norm"]) == pytest.approx(100 * 3**0.5)
    # Adam hides the size of a single gradient, its second moment does not.
    import optax

    student, critic = (optax.tree.get(m, "nu")["w"][0] for m in (state.student_memory, state.critic_memory))
    assert float(critic) == pytest.approx(0.001 * 100**2, rel=1e-5)
    assert float(student) == pytest.approx(0.001 * 10**2 / 3, rel=1e-5)


def test_gradients_that_are_no_numbers_change_nothing_and_are_counted():
    state, metrics = advance(start(), True, float("nan"))
    np.testing.assert_array_equal(state.critic["w"], 2.0)
    np.testing.assert_array_equal(state.student["w"], 1.0)
    assert int(metrics["skipped_critic_updates"]) == int(metrics["skipped_student_updates"]) == 1
    assert counted(state.critic_memory) == 0 and int(state.step) == 1
