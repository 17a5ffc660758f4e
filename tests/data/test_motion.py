from dataclasses import fields

import numpy as np

from lipforcing_jax.data.motion import Motion, sample_motion, still_motion


def test_motion_is_deterministic_and_differs_between_seeds():
    first, again, other = sample_motion(3, 50), sample_motion(3, 50), sample_motion(4, 50)
    for field in fields(Motion):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.yaw, other.yaw)


def test_tracks_have_the_stated_length_type_and_ranges():
    for seed in range(20):
        motion = sample_motion(seed, 60)
        assert motion.frames == 60
        for field in fields(Motion):
            track = getattr(motion, field.name)
            assert track.shape == (60,) and track.dtype == np.float32 and np.isfinite(track).all()
        assert motion.blink.min() >= 0 and motion.blink.max() <= 1
        assert np.abs(motion.yaw).max() < 0.8 and np.abs(motion.jitter_x).max() < 0.1


def test_one_frame_is_possible():
    assert sample_motion(0, 1).frames == 1


def test_people_blink_within_twenty_seconds():
    assert all(sample_motion(seed, 500).blink.max() > 0.6 for seed in range(5))


def test_still_motion_keeps_everything_at_rest():
    still = still_motion(3)
    assert not still.yaw.any() and not still.jitter_scale.any()
    np.testing.assert_array_equal(still.light, 1)
