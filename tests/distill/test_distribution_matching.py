"""The sync window, the matching gradient, and who is asked about what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax import flow
from lipforcing_jax.distill.distribution_matching import SyncWindow, match, opinions


def test_the_window_holds_two_fifths_of_the_draws():
    """0.3997 of the shifted levels lie in [0.556, 0.882] (spec training 0.3)."""
    t = flow.shifted_t(jnp.asarray((np.arange(100_000) + 0.5) / 100_000))
    assert float(jnp.mean(SyncWindow().scales(t) == 4.5)) == pytest.approx(0.3997, abs=1e-4)
    assert 0.00498 < float(t.min()) < 0.00504 and float(t.max()) == pytest.approx(0.999)


def test_the_window_reversed_and_open():
    t = jnp.asarray([0.3, 0.556, 0.7, 0.882, 0.9])
    np.testing.assert_array_equal(SyncWindow().scales(t), [1, 4.5, 4.5, 4.5, 1])
    np.testing.assert_array_equal(SyncWindow(reverse=True).scales(t), [4.5, 1, 1, 1, 4.5])
    np.testing.assert_array_equal(SyncWindow(low=0.0, high=1.0).scales(t), [4.5] * 5)
    np.testing.assert_array_equal(SyncWindow(scale=1.0).scales(t), [1] * 5)


def test_the_gradient_is_that_of_the_pseudo_loss():
    """grad = w (critic - guided) / elements (spec training 9.6), each sample for itself."""
    x0, critic, guided = (tiny.draw(i, 2, 3, 4, 4, 4) for i in range(3))
    found = match(x0, critic, guided)
    target = x0 - found.gradient * x0[0].size
    loss, gradient = jax.value_and_grad(lambda x: jnp.sum(0.5 * jnp.mean((x - target) ** 2, axis=(1, 2, 3, 4))))(x0)
    assert float(found.loss.sum()) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-8)
    weight = 1 / (np.abs(np.asarray(x0 - guided)).mean(axis=(1, 2, 3, 4)) + 1e-6)
    expected = weight[:, None, None, None, None] * np.asarray(critic - guided) / x0[0].size
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-5)


def test_bfloat16_is_matched_in_float32():
    x0, critic, guided = (tiny.draw(i, 1, 3, 4, 4, 4).astype(jnp.bfloat16) for i in range(3))
    found = match(x0, critic, guided)
    assert {a.dtype for a in found} == {jnp.dtype(jnp.float32)}
    assert tiny.difference(found, match(*(a.astype(jnp.float32) for a in (x0, critic, guided)))) == 0


@pytest.fixture(scope="module")
def asked():
    base, teacher = tiny.network()
    condition, critic = tiny.condition(), tiny.filled(teacher, 2)
    x_t = tiny.draw(7, *condition.masked_video.shape)

    run = jax.jit(opinions, static_argnames="window")

    def ask(t, text, **changes):
        return run(base, critic, teacher, x_t, jnp.asarray(t), condition, text, window=SyncWindow(**changes))

    return ask


def test_guidance_reaches_the_samples_inside_the_window_only(asked):
    found = asked([0.7, 0.3], jnp.ones((1, tiny.CFG.text_len, tiny.CFG.text_dim)))
    apart = np.abs(np.asarray(found.guided - found.teacher)).max(axis=(1, 2, 3, 4))
    assert apart[0] > 1e-2 and apart[1] == 0
    assert tiny.difference(found.critic, found.teacher) > 1e-2


@pytest.mark.parametrize("t, changes", [([0.3, 0.95], {}), ([0.7, 0.6], {"scale": 1.0})], ids=["outside", "scale 1"])
def test_without_guidance_the_negative_condition_does_not_matter(asked, t, changes):
    texts = [jnp.full((1, tiny.CFG.text_len, tiny.CFG.text_dim), v) for v in (0.0, jnp.nan)]
    zero, broken = (asked(t, text, **changes) for text in texts)
    np.testing.assert_array_equal(zero.guided, broken.guided)


def test_the_negative_condition_keeps_the_picture():
    """Zero features of sound, another text, everything else as it is (spec training 2.2)."""
    condition = tiny.condition()
    negative = condition.negative(jnp.ones((1, tiny.CFG.text_len, tiny.CFG.text_dim)))
    assert float(jnp.abs(negative.audio).max()) == 0 and bool((negative.text == 1).all())
    assert negative.text.shape == condition.text.shape
    np.testing.assert_array_equal(negative.channels(), condition.channels())
