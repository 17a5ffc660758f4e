"""Sync-C and Sync-D beyond the reference numbers of tests/golden_runs/sync_distance.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.models.sync_distance import score, shift_distances


def sequence(length: int, width: int = 32, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal((length, width)), jnp.float32)


@pytest.mark.parametrize("zero_padded", [False, True])
@pytest.mark.parametrize("shift", [-9, 0, 4])
def test_a_late_sound_is_found(shift, zero_padded):
    base = sequence(80)
    distances = shift_distances(base[15:65], base[15 - shift : 65 - shift], zero_padded=zero_padded)
    found = jax.jit(score)(distances)
    assert distances.shape == (31,)
    assert found.shift == shift
    np.testing.assert_allclose(found.confidence + found.distance, np.median(distances), rtol=1e-6)
    if not zero_padded:
        assert found.distance < 1e-4


def test_the_reward_does_not_mind_an_offset():
    base = sequence(80)
    confidences = [score(shift_distances(base[15:65], base[15 - s : 65 - s])).confidence for s in (0, 3)]
    np.testing.assert_allclose(*confidences, rtol=0.05)


def test_the_forms_differ_only_past_the_ends():
    faces, sounds = sequence(40), sequence(40, seed=1)
    inside, padded = shift_distances(faces, sounds), shift_distances(faces, sounds, zero_padded=True)
    np.testing.assert_allclose(inside[15], padded[15], rtol=1e-6)
    assert (np.delete(inside - padded, 15) > 0).all(), "a row of zeros is nearer than another sound"


@pytest.mark.parametrize("zero_padded", [False, True])
def test_the_gradient_is_finite_where_both_are_equal(zero_padded):
    same = sequence(40)
    confidence = lambda faces: score(shift_distances(faces, same, zero_padded=zero_padded)).confidence  # noqa: E731
    assert np.isfinite(jax.jit(jax.grad(confidence))(same)).all()


def test_the_longest_shift_needs_a_pair():
    with pytest.raises(ValueError, match="15 windows are too few for shifts of up to 15"):
        shift_distances(sequence(15), sequence(40))
    assert shift_distances(sequence(16), sequence(40)).shape == (31,)
    assert shift_distances(sequence(3), sequence(3), zero_padded=True).shape == (31,)
    with pytest.raises(ValueError, match="0 windows"):
        shift_distances(sequence(0), sequence(3), zero_padded=True)
