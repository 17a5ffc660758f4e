"""The critic's loss by hand, and a bad sample beside a good one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax import flow
from lipforcing_jax.distill import critic
from lipforcing_jax.distill.condition import predict_x0


@pytest.fixture(scope="module")
def setting():
    base, part = tiny.network()
    condition = tiny.condition()
    x0, eps = (tiny.draw(i, *condition.masked_video.shape) for i in (1, 2))
    return base, part, x0, jnp.asarray([0.8, 0.3]), eps, condition


learn = jax.jit(critic.gradient)


def test_the_loss_is_a_plain_mean_in_x0_space(setting):
    base, part, x0, t, eps, condition = setting
    found, _ = learn(*setting)
    guess = jax.jit(predict_x0)(base.join(part), flow.add_noise(x0, eps, t), t, condition)
    assert float(found.loss) == pytest.approx(float(jnp.mean((guess - x0) ** 2)), rel=1e-5)
    assert found.kept.tolist() == [True, True]


def test_a_sample_that_is_not_finite_is_left_out_and_counted(setting):
    base, part, x0, t, eps, condition = setting
    twice = lambda a: jnp.repeat(a[1:], 2, axis=0)  # noqa: E731
    alone = type(condition)(*map(twice, condition[:-1]), condition.mask)
    expected, gradient = learn(base, part, twice(x0), twice(t), twice(eps), alone)
    found, spoilt = learn(base, part, x0.at[0, 3].set(jnp.nan), t, eps, condition)
    assert found.kept.tolist() == [False, True]
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    assert tiny.difference(spoilt, gradient) < 1e-5


def test_nothing_is_learned_from_nothing(setting):
    base, part, x0, t, eps, condition = setting
    found, gradient = learn(base, part, jnp.full_like(x0, jnp.inf), t, eps, condition)
    assert float(found.loss) == 0 and tiny.largest(gradient) == 0
    assert not np.asarray(found.kept).any()
