"""The released optimisers in numbers: decay, moments and clip as PyTorch does them (spec training 2.9)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lipforcing_jax.distill import optimisers


def descend(optimiser, params, gradients):
    state = optimiser.init(params)
    for g in gradients:
        updates, state = optimiser.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("lr, b1", [(2e-6, 0.0), (1e-5, 0.9)])
def test_five_updates_by_the_written_rule(lr, b1):
    """p <- p - lr (m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps) + 0.01 p), in float64 beside float32."""
    start, gradients = drawn(0, 7), [drawn(1 + i, 7) for i in range(5)]
    p, m, v = start.copy(), np.zeros(7), np.zeros(7)
    for n, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, 0.999 * v + 0.001 * g**2
        p -= lr * (m / (1 - b1**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8) + 0.01 * p)
    with jax.enable_x64(True):
        found = descend(
            optimisers.adamw(lr, b1, 0.999, 1e-8, 0.01), jnp.asarray(start), [jnp.asarray(g) for g in gradients]
        )
    np.testing.assert_allclose(found, p, rtol=1e-12)
    assert np.abs(p - start).max() > lr


def test_five_updates_like_pytorch():
    torch = pytest.importorskip("torch")
    start, gradients = drawn(0, 5).astype(np.float32), [drawn(1 + i, 5).astype(np.float32) for i in range(5)]
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs = torch.optim.AdamW([parameter], lr=2e-6, betas=(0.0, 0.999), eps=1e-8, weight_decay=0.01)
    for g in gradients:
        parameter.grad = torch.tensor(g)
        theirs.step()
    ours = descend(optimisers.adamw(2e-6, 0.0, 0.999, 1e-8, 0.01), jnp.asarray(start), gradients)
    np.testing.assert_allclose(ours, parameter.detach().numpy(), rtol=1e-6)


def test_the_clip_divides_by_the_norm_and_a_little_more():
    gradients = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}
    clip = optimisers.clip_by_norm(1.0)
    clipped, _ = clip.update(gradients, clip.init(gradients))
    np.testing.assert_allclose(clipped["a"], [3 / (5 + 1e-6), 0], rtol=1e-7)
    small = optimisers.clip_by_norm(10.0)
    untouched, _ = small.update(gradients, small.init(gradients))
    np.testing.assert_array_equal(untouched["b"], gradients["b"])


def test_what_is_no_number_becomes_one_before_the_norm():
    clip = optimisers.clip_by_norm(10.0)
    gradients = {"a": jnp.asarray([jnp.nan, 3.0]), "b": jnp.asarray([4.0])}
    clipped, _ = clip.update(gradients, clip.init(gradients))
    np.testing.assert_array_equal(clipped["a"], [0, 3])
