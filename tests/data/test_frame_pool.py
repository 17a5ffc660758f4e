"""The pictures from which the autoencoder learns: faces that speak, kept in one file."""

import numpy as np

from lipforcing_jax.data import frame_pool

FRAMES = 6


def mouths(clips: int = 4, frames: int = 60) -> np.ndarray:
    """Mouths at rest but for one clip, which moves in its second half."""
    made = np.full((clips, frames, 6), 0.2, np.float32)
    made[2, frames // 2 :, 1] = np.linspace(0, 1, frames // 2)
    return made


def test_mouths_are_taken_where_they_move():
    taken = [frame_pool.spoken_mouth(np.random.default_rng(seed), mouths(), FRAMES)[:, 1] for seed in range(20)]
    assert np.mean([mouth.std() > frame_pool.MOVES for mouth in taken]) > 0.7


def test_mouths_that_all_rest_are_taken_as_they_are():
    taken = frame_pool.spoken_mouth(np.random.default_rng(0), np.zeros((2, 9, 6), np.float32), FRAMES)
    np.testing.assert_array_equal(taken, np.zeros((FRAMES, 6)))


def test_a_pool_is_drawn_once_and_its_faces_speak(tmp_path):
    path = tmp_path / "pictures.npy"
    pool = frame_pool.build(path, 4, FRAMES, 64, 0.0, mouths())
    assert pool.shape == (4, FRAMES, 64, 64, 3) and pool.dtype == np.uint8
    moved = np.abs(np.diff(pool[:, :, 36:].astype(int), axis=1)).mean(axis=(1, 2, 3, 4))
    assert moved.max() > 1
    np.testing.assert_array_equal(frame_pool.build(path, 4, FRAMES, 64, 0.0, np.zeros((1, 9, 6), np.float32)), pool)
    cut = frame_pool.crops(pool, np.random.default_rng(0), 3, 4, 32, 8)
    assert cut.shape == (3, 4, 32, 32, 3) and cut.min() >= 0 and cut.max() <= 1
