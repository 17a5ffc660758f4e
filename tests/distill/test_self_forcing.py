"""Both parts of stage 2 together, at a tiny size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_stage2 as tiny
from flax import nnx

from lipforcing_jax.distill.base import LOW_RANK
from lipforcing_jax.distill.self_forcing import Recipe, draw_exit_step, teach_critic, teach_student

RECIPE, PLAIN = Recipe(window=tiny.WINDOW), Recipe(window=tiny.WINDOW, reward=None)


@pytest.fixture(scope="module")
def setting():
    base, student = tiny.network()
    return base, student, tiny.filled(student, 2), tiny.filled(student, 3), tiny.condition()


def student_part(setting, recipe, condition=None, seed=0):
    base, student, critic, teacher, given = setting
    condition = given if condition is None else condition
    negative = jnp.zeros((1, *condition.text.shape[1:]))
    sound = {} if recipe.reward is None else {"judge": tiny.judge(), "cepstra": tiny.cepstra()}
    return teach_student(base, student, critic, teacher, condition, negative, jax.random.key(seed), recipe, 1, **sound)


def test_frozen_parameters_do_not_change(setting):
    """A step of the optimiser later, what is frozen is the same to the bit, and nothing that is trained is."""
    base, student, critic, _, condition = setting
    before = jax.tree.map(np.array, base.frozen)
    gradients, metrics = teach_critic(base, critic, student, condition, jax.random.key(1), RECIPE, 1)
    optimiser = optax.adamw(2e-6, b1=0.0, b2=0.999, weight_decay=0.01)
    updates, _ = optimiser.update(gradients, optimiser.init(critic), critic)
    changed = optax.apply_updates(critic, updates)
    _, after = nnx.state(base.join(changed), LOW_RANK, ...)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(x, y)
    assert all(bool((x != y).any()) for x, y in zip(jax.tree.leaves(changed), jax.tree.leaves(critic), strict=True))
    assert float(metrics["critic_loss"]) > 0 and int(metrics["skipped_samples"]) == 0


def test_the_reward_scales_the_students_gradient(setting):
    """With one sample of two left, the weighted gradient is the plain one times exp(2 Sync-C)."""
    condition = setting[-1]
    spoilt = condition._replace(audio=condition.audio.at[0, 0].set(jnp.nan))
    plain, plain_metrics, _ = student_part(setting, PLAIN, spoilt)
    weighted, metrics, _ = student_part(setting, RECIPE, spoilt)
    assert int(metrics["skipped_samples"]) == int(plain_metrics["skipped_samples"]) == 1
    weight = float(metrics["weight_mean"])
    assert weight == pytest.approx(float(jnp.exp(2 * metrics["reward_mean"])), rel=1e-5) and weight > 1.0
    scaled = jax.tree.map(lambda g: g * weight, plain)
    assert tiny.difference(weighted, scaled) < 1e-4
    assert float(metrics["student_loss"]) == pytest.approx(weight * float(plain_metrics["student_loss"]), rel=1e-4)


def test_every_number_is_finite_and_the_key_decides(setting):
    gradients, metrics, _ = student_part(setting, RECIPE)
    again, same, _ = student_part(setting, RECIPE)
    other, _, _ = student_part(setting, RECIPE, seed=1)
    assert all(bool(jnp.isfinite(value)) for value in (*metrics.values(), *map(jnp.sum, jax.tree.leaves(gradients))))
    assert {"reward_mean", "reward_std", "weight_mean", "weight_std", "sync_distance", "student_loss"} <= set(metrics)
    assert tiny.difference(again, gradients) == 0 and same == metrics
    assert tiny.difference(other, gradients) > 1e-3


def test_a_reward_needs_a_judge(setting):
    base, student, critic, teacher, condition = setting
    with pytest.raises(ValueError, match="needs a judge"):
        teach_student(base, student, critic, teacher, condition, condition.text[:1], jax.random.key(0), RECIPE, 1)


def test_recipes_that_land_elsewhere_share_a_program():
    """A program belongs to the structure of what it is given: how many levels there are, but not which."""
    structures = [
        jax.tree.structure(recipe)
        for recipe in (Recipe(), Recipe(t_list=(0.999, 0.833, 0.0)), Recipe(t_list=(0.999, 0.0)), Recipe(remat="none"))
    ]
    assert structures[0] == structures[1] and structures[0] not in structures[2:]


def test_both_exit_steps_are_drawn():
    assert {draw_exit_step(jax.random.key(i), RECIPE) for i in range(8)} == {0, 1}
