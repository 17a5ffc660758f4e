"""Other mouths: one for each clip, on the lips alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.distill.other_mouth import other_mouth
from lipforcing_jax.media.mouth_mask import lips_cells
from lipforcing_jax.sampling.steady_mouth import hold

SIZE = 16
LIPS = lips_cells(SIZE)


@pytest.fixture(scope="module")
def source():
    return jax.random.normal(jax.random.key(0), (64, 6, SIZE, SIZE, 4))


def test_a_clip_keeps_its_other_lips_and_all_else(source):
    shown = hold(source, 3)
    drawn = jax.jit(other_mouth, static_argnames="reach")(shown, source, jax.random.key(1), reach=2.0)
    moved = np.asarray(drawn - shown)
    assert not moved[:, :, ~LIPS].any()
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-5)


def test_lips_go_towards_those_of_a_frame_and_beyond(source):
    shown = jnp.zeros_like(source)
    moved = np.asarray(other_mouth(shown, source, jax.random.key(2), reach=2.0))[:, 0, LIPS].reshape(64, -1)
    away = np.asarray(source - source.mean(axis=1, keepdims=True))[:, :, LIPS].reshape(64, 6, -1)
    steps = np.einsum("bd,btd->bt", moved, away) / (away**2).sum(axis=-1)
    left = np.linalg.norm(moved[:, None] - steps[..., None] * away, axis=-1)
    chosen = left.argmin(axis=1)
    assert (left.min(axis=1) < 1e-3).all() and len(set(chosen)) == 6, "each is a step towards one frame"
    steps = steps[np.arange(64), chosen]
    assert 0 <= steps.min() < 0.2 and 1.8 < steps.max() <= 2


def test_another_mouth_is_a_function_of_its_key(source):
    one, same, other = (other_mouth(source, source, jax.random.key(seed), 1.0) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert float(jnp.abs(one - other).max()) > 0.1
    np.testing.assert_array_equal(other_mouth(source, source, jax.random.key(3), 0.0), source)
