"""The source's lost detail comes back where nothing moved, and only there."""

import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.sampling import detail

SIZE = 64


@pytest.fixture(scope="module")
def pictures():
    """A finely textured source and the blur that an autoencoder would make of it."""
    source = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.7, (1, 2, SIZE, SIZE, 3)), jnp.float32)
    return source, jnp.full_like(source, 0.5)


def test_an_unchanged_face_is_the_source(pictures):
    source, blurred = pictures
    np.testing.assert_allclose(detail.restore(blurred, blurred, source), source, atol=1e-6)


def test_a_small_error_of_the_student_costs_no_detail(pictures):
    source, blurred = pictures
    restored = detail.restore(blurred + 3 / 255, blurred, source)
    np.testing.assert_allclose(restored, source + 3 / 255, atol=1e-6)


def test_what_moved_shows_nothing_of_the_source(pictures):
    source, blurred = pictures
    moved = blurred.at[:, :, 20:44, 20:44].set(0.1)
    restored = np.asarray(detail.restore(moved, blurred, source))
    np.testing.assert_array_equal(restored[:, :, 20:44, 20:44], np.float32(0.1))


def test_far_from_what_moved_the_source_returns(pictures):
    source, blurred = pictures
    moved = blurred.at[:, :, 20:44, 20:44].set(0.1)
    far = np.ones((SIZE, SIZE), bool)
    far[20 - detail.REACH : 44 + detail.REACH, 20 - detail.REACH : 44 + detail.REACH] = False
    restored = np.asarray(detail.restore(moved, blurred, source))
    np.testing.assert_allclose(restored[:, :, far], np.asarray(source)[:, :, far], atol=1e-6)
