"""Other looks of a drawn clip keep what the student learns from: the difference between the two mouths of a pair."""

import numpy as np
import pytest

from lipforcing_jax.data.variation import vary


@pytest.fixture(scope="module")
def pair() -> np.ndarray:
    """Two clips of a smooth face-like picture that differ in a dark spot where the mouth is."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    face = np.stack([200 * np.exp(-(x**2) - y**2), 150 + 40 * y, 90 + 30 * x], axis=-1)
    clips = np.repeat(face[None, None], 3, axis=1).repeat(2, axis=0)
    clips[1, :, 44:52, 26:38] = 20
    return clips.astype(np.uint8)


def test_looks_differ_and_the_same_seed_gives_the_same(pair):
    a, b, again = (vary(pair, np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert a.shape == pair.shape and a.dtype == np.uint8
    np.testing.assert_array_equal(a, again)
    assert np.abs(a.astype(int) - b).mean() > 5 and np.abs(a.astype(int) - pair).mean() > 5


@pytest.mark.parametrize("seed", range(6))
def test_frames_and_both_clips_of_a_pair_look_alike(pair, seed):
    varied = vary(pair, np.random.default_rng(seed)).astype(int)
    np.testing.assert_array_equal(varied[:, 0], varied[:, 2])
    changed = np.abs(varied[0, 0] - varied[1, 0]).max(axis=-1) > 0
    rows, columns = np.nonzero(changed)
    # The spot stays where the mouth is, up to the bending and a mirror, and nothing else differs.
    assert 0.5 < changed.mean() / (8 * 12 / 64**2) < 3
    assert 40 < rows.mean() < 56 and 24 < columns.mean() < 40
