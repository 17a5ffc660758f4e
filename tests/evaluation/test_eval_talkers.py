"""The measures of eval-talkers on cases whose answer is known."""

import numpy as np
import pytest

from lipforcing_jax.data.articulation import MouthStyle
from lipforcing_jax.data.speech_samples import sample_utterance
from lipforcing_jax.evaluation import eval_talkers


def test_psnr_of_a_known_error():
    black = np.zeros((4, 4, 3), np.uint8)
    assert eval_talkers.psnr(black, black + 255) == pytest.approx(0.0)
    assert eval_talkers.psnr(black, black + 51) == pytest.approx(20 * np.log10(5))


def test_a_series_that_stands_still_has_no_correlation():
    moving = np.arange(5.0)
    assert eval_talkers.correlation(moving, np.ones(5)) == 0.0
    assert eval_talkers.correlation(moving, 2 * moving + 1) == pytest.approx(1.0)


def test_a_silent_clip_gives_way_to_one_that_speaks():
    """Of this seed nobody speaks; its neighbour speaks for itself."""
    from lipforcing_jax.data.formant import FormantEngine

    engines, silent = (FormantEngine(),), 900_000 + 3 * 5020 + 1
    assert np.ptp(sample_utterance(silent, "heldout", 1.0, engines=engines)[2][:, 1]) == 0
    audio, mouth = eval_talkers.spoken(silent, "heldout", 1.0, engines)
    assert mouth[:, 1].std() > 0.02 and np.abs(audio).max() > 0.05
    own = sample_utterance(silent + 1, "heldout", 1.0, engines=engines, style=MouthStyle())
    np.testing.assert_array_equal(eval_talkers.spoken(silent + 1, "heldout", 1.0, engines)[0], own[0])


def test_three_sentences_of_one_held_out_talker():
    from lipforcing_jax.data.formant import FormantEngine

    talker = eval_talkers.make_talker(0, 32, "heldout", (FormantEngine(),))
    assert talker.source.shape == talker.truth.shape == (eval_talkers.FRAMES, 32, 32, 3)
    assert np.abs(talker.source[:, :12].astype(int) - talker.truth[:, :12]).mean() < 2, "the same head and camera"
    assert np.abs(talker.source.astype(int) - talker.truth).max() > 20
    assert np.abs(talker.audio - talker.other_audio).max() > 0.05
