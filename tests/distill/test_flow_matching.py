"""The teacher's loss by hand: in flow space, bounded near clean clips, deaf where the sound is dropped."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax import flow
from lipforcing_jax.distill import flow_matching as fm
from lipforcing_jax.distill.condition import predict_x0

NEGATIVE = tiny.draw(21, 1, tiny.CFG.text_len, tiny.CFG.text_dim)
learn = jax.jit(jax.value_and_grad(partial(fm.loss, negative_text=NEGATIVE), argnums=1, has_aux=True))
see, draw = jax.jit(predict_x0), jax.jit(fm.draw, static_argnums=1)


@pytest.fixture(scope="module")
def setting():
    base, part = tiny.network()
    condition = tiny.condition()
    return base, part, tiny.draw(1, *condition.masked_video.shape), condition


def run(base, part, target, condition, seed=0, drop_share=0.0, keep_weight=1.0):
    """Loss and metrics; one program for all tests."""
    return learn(base, part, target, condition, jax.random.key(seed), drop_share=drop_share, keep_weight=keep_weight)[0]


def key_with(lowest: float, highest: float) -> int:
    """A seed whose smallest level lies between the two."""
    smallest = (float(draw(jax.random.key(i), (2, 1), 0.0).t.min()) for i in range(200))
    return next(i for i, t in enumerate(smallest) if lowest < t < highest)


def test_the_loss_is_that_of_the_flow(setting):
    """mean((v_hat - v)^2) with v = eps - x0, wherever no level is below the bound."""
    base, part, target, condition = setting
    seed = key_with(fm.LEAST_DIVISOR, 0.9)
    draws = draw(jax.random.key(seed), target.shape, 0.0)
    x_t = flow.add_noise(target, draws.eps, draws.t)
    x0 = see(base.join(part), x_t, draws.t, condition)
    velocity = flow.x0_to_flow(x_t, x0, draws.t)
    value, metrics = run(*setting, seed)
    assert float(value) == pytest.approx(float(jnp.mean((velocity - (draws.eps - target)) ** 2)), rel=1e-4)
    mouth = jnp.mean((x0 - target)[:, :, 2:] ** 2)
    assert float(metrics["mouth_error"]) == pytest.approx(float(mouth), rel=1e-5)


def test_the_weight_of_almost_clean_clips_is_bounded(setting):
    base, part, target, condition = setting
    seed = key_with(0.0, 0.5 * fm.LEAST_DIVISOR)
    draws = draw(jax.random.key(seed), target.shape, 0.0)
    x0 = see(base.join(part), flow.add_noise(target, draws.eps, draws.t), draws.t, condition)
    errors = jnp.mean((x0 - target) ** 2, axis=(1, 2, 3, 4))
    value, _ = run(*setting, seed)
    bounded = errors / jnp.maximum(draws.t, fm.LEAST_DIVISOR) ** 2
    assert float(value) == pytest.approx(float(jnp.mean(bounded)), rel=1e-4)
    assert float(value) < 0.5 * float(jnp.mean(errors / draws.t**2))


def test_a_dropped_clip_hears_and_reads_nothing(setting):
    base, part, target, condition = setting
    other = condition._replace(audio=condition.audio + 1, text=condition.text - 1)
    same = [float(run(base, part, target, c, drop_share=1.0)[0]) for c in (condition, other)]
    differ = [float(run(base, part, target, c)[0]) for c in (condition, other)]
    assert same[0] == same[1]
    assert abs(differ[0] - differ[1]) > 1e-3 * differ[0]


def test_only_the_dropped_clips_get_the_negative_condition(setting):
    condition = setting[-1]
    told = fm.untold(condition, NEGATIVE, jnp.asarray([True, False]))
    assert not told.audio[0].any() and bool((told.text[0] == NEGATIVE[0]).all())
    for mixed, whole in zip(told[:2], condition[:2], strict=True):
        np.testing.assert_array_equal(mixed[1], whole[1])


def test_levels_are_those_of_distribution_matching():
    """Two in five lie in the sync window (spec training 0.3), and one clip in ten is told nothing."""
    draws = draw(jax.random.key(0), (20_000, 1), 0.1)
    inside = (draws.t >= 0.556) & (draws.t <= 0.882)
    assert float(inside.mean()) == pytest.approx(0.3997, abs=0.01)
    assert float(draws.t.min()) > 0.004 and float(draws.t.max()) == np.float32(flow.MAX_T)
    assert float(draws.dropped.mean()) == pytest.approx(0.1, abs=0.01)


def test_a_sample_that_is_not_finite_is_left_out(setting):
    """What is left is the other sample's loss, and no gradient is spoilt."""
    base, part, target, condition = setting
    draws = draw(jax.random.key(0), target.shape, 0.0)
    x0 = see(base.join(part), flow.add_noise(target, draws.eps, draws.t), draws.t, condition)
    expected = jnp.mean((x0 - target)[1] ** 2) / jnp.maximum(draws.t[1], fm.LEAST_DIVISOR) ** 2
    (value, metrics), gradient = learn(
        base, part, target.at[0, 2].set(jnp.nan), condition, jax.random.key(0), drop_share=0.0, keep_weight=1.0
    )
    assert float(metrics["skipped_samples"]) == 1
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    assert 0 < tiny.largest(gradient) < np.inf


def test_kept_cells_can_be_left_out(setting):
    mouth, whole = (float(run(*setting, keep_weight=weight)[0]) for weight in (0.0, 1.0))
    assert 0 < mouth < whole
