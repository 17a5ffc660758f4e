"""Other voices: one speaker for each clip, the same speech."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.distill import other_voice


@pytest.fixture(scope="module")
def mel():
    """A hill over the bands that stays where it is."""
    place = np.arange(32)
    return jnp.asarray(np.tile(np.exp(-(((place - 16) / 4) ** 2)), (64, 24, 1)), jnp.float32)


def test_a_warp_moves_formants_both_ways_and_keeps_their_height(mel):
    moved = np.asarray(jax.jit(other_voice.warped)(mel, jax.random.key(0)))
    peaks = moved[:, 0].argmax(axis=-1)
    assert peaks.min() < 15 and peaks.max() > 17 and np.abs(peaks - 16).max() <= 2 * other_voice.WARP
    assert moved.max() <= float(mel.max()) + 1e-6 and moved[:, 0].max(axis=-1).min() > 0.9
    np.testing.assert_array_equal(moved[:, 0], moved[:, -1], "one speaker for the whole clip")


def test_something_short_is_hidden():
    kept = np.asarray(other_voice.hidden(jax.random.key(1), 200, 50, 10))
    gone = (kept == 0).sum(axis=1)
    assert gone.max() <= 11 and 3 < gone.mean() < 7
    runs = np.diff(np.pad(kept, ((0, 0), (1, 1)), constant_values=1)).astype(int)
    assert (np.abs(runs).sum(axis=1) <= 2).all(), "in one piece"


def test_another_voice_is_a_function_of_its_key(mel):
    voice = jax.jit(other_voice.other_voice)
    one, same, other = voice(mel, jax.random.key(0)), voice(mel, jax.random.key(0)), voice(mel, jax.random.key(1))
    np.testing.assert_array_equal(one, same)
    assert one.shape == mel.shape and float(jnp.abs(one - other).mean()) > 0.01
