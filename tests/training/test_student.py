"""The student's batches: source and target are two mouths of one talker, and the sound is the target's."""

import numpy as np
import pytest

from lipforcing_jax.training.student import batch_of, silent_clips

PAIRS, LENGTH, CHUNK, FRAMES = 3, 12, 3, 6


@pytest.fixture(scope="module")
def data():
    """Latents that say where they come from: pair, side and time; masked ones are the negative."""
    pair, side, time = np.meshgrid(np.arange(PAIRS), np.arange(2), np.arange(LENGTH), indexing="ij")
    seen = (100 * pair + 1000 * side + time).astype(np.float16)[..., None, None, None]
    clip, at = np.meshgrid(np.arange(2 * PAIRS), np.arange(LENGTH), indexing="ij")
    heard = np.stack([(100 * (clip // 2) + 1000 * (clip % 2) + at)[..., None]] * 2).astype(np.float16)
    return {"seen": seen, "masked": -seen}, heard


def test_a_batch_pairs_two_mouths_of_one_talker(data):
    latents, heard = data
    batch = batch_of(latents, heard, np.random.default_rng(0), 64, FRAMES, CHUNK)
    target, source = batch.target[..., 0, 0, 0], batch.ref_sequence[..., 0, 0, 0]
    np.testing.assert_array_equal(np.abs(target - source), 1000)
    np.testing.assert_array_equal(batch.audio[..., 0], target)
    np.testing.assert_array_equal(batch.masked_video[..., 0, 0, 0], -source)
    np.testing.assert_array_equal(batch.ref_latent[:, 0, 0, 0, 0] % 100, 0)
    np.testing.assert_array_equal(batch.ref_latent[:, 0, 0, 0, 0] // 100, source[:, 0] // 100)
    assert set(source[:, 0] // 1000) == {0, 1}, "pairs are drawn in both directions"


def test_windows_begin_where_chunks_do(data):
    batch = batch_of(*data, np.random.default_rng(1), 64, FRAMES, CHUNK)
    first = batch.target[:, 0, 0, 0, 0] % 100
    assert set(first) == {0, 3, 6}


def test_a_batch_is_a_function_of_its_seed(data):
    a, b = (batch_of(*data, np.random.default_rng(5), 8, FRAMES, CHUNK) for _ in range(2))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_silent_clips_are_drawn_as_targets(data):
    mouths = np.random.default_rng(0).random((PAIRS, 2, 8, 6))
    mouths[1, 0] = mouths[1, 0, :1]
    silent = silent_clips(mouths)
    np.testing.assert_array_equal(silent, [[1, 0]])
    batch = batch_of(*data, np.random.default_rng(2), 200, FRAMES, CHUNK, silent, 0.5)
    share = np.mean(batch.target[:, 0, 0, 0, 0] // 100 == 1)
    assert 0.5 < share < 0.7, "half of all, and a sixth of the others"
