"""The measures of eval-talkers on cases whose answer is known."""

import numpy as np
import pytest

from lipforcing_jax.evaluation import eval_talkers
from lipforcing_jax.listening import SampleListener
from lipforcing_jax.models import presets
from lipforcing_jax.sampling import stream

NANO = presets.by_name("nano")


def test_psnr_of_a_known_error():
    black = np.zeros((4, 4, 3), np.uint8)
    assert eval_talkers.psnr(black, black + 255) == pytest.approx(0.0)
    assert eval_talkers.psnr(black, black + 51) == pytest.approx(20 * np.log10(5))


def test_a_series_that_stands_still_has_no_correlation():
    moving = np.arange(5.0)
    assert eval_talkers.correlation(moving, np.ones(5)) == 0.0
    assert eval_talkers.correlation(moving, 2 * moving + 1) == pytest.approx(1.0)


def test_the_interval_holds_the_mean_and_shrinks_with_talkers():
    few = eval_talkers.bootstrap([0.0, 1.0] * 4)
    many = eval_talkers.bootstrap([0.0, 1.0] * 64)
    for found in (few, many):
        assert found["low"] < found["mean"] == 0.5 < found["high"]
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])


def test_chunks_give_every_frame_its_own_sound():
    """Sample k of the sound holds k's frame number, so that windows can be read back."""
    frames = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    sound = np.repeat(np.arange(30, dtype=np.float32), 640)
    chunks = eval_talkers.chunks_of(NANO, SampleListener(NANO), frames, sound)
    per = stream.frames_per_chunk(NANO)
    before, own, _ = stream.audio_window(NANO)
    pictures = np.asarray(chunks.frames)[:, 0, :, 0, 0, 0].reshape(-1)
    heard = np.asarray(chunks.audio)[:, 0, before : before + own].reshape(-1, 640)
    assert len(pictures) % per == 0
    np.testing.assert_array_equal(pictures[:3], 0)
    np.testing.assert_array_equal(pictures[3:33], np.arange(30))
    np.testing.assert_array_equal(heard[3:33].mean(axis=1), np.arange(30))
    assert not heard[:3].any() and not heard[33:].any()


def test_three_sentences_of_one_held_out_talker():
    from lipforcing_jax.data.formant import FormantEngine

    talker = eval_talkers.make_talker(0, 32, "heldout", (FormantEngine(),))
    assert talker.source.shape == talker.truth.shape == (eval_talkers.FRAMES, 32, 32, 3)
    assert np.abs(talker.source[:, :12].astype(int) - talker.truth[:, :12]).mean() < 2, "the same head and camera"
    assert np.abs(talker.source.astype(int) - talker.truth).max() > 20
    assert np.abs(talker.audio - talker.other_audio).max() > 0.05
