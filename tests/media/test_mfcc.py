"""MFCC beside values of its specification; whole files: tests/golden_runs/mfcc.py."""

import numpy as np
import pytest

from lipforcing_jax.media.mfcc import MFCCConfig, mel_bank, mfcc

TONE = np.float32(0.3 * 32768 * np.sin(2 * np.pi * 220 * np.arange(51840) / 16000))


def test_a_tone():
    rows = mfcc(TONE)
    assert rows.shape == (323, 13) and rows.dtype == np.float64
    first = [18.17653, 21.5827, 12.26766, 6.26652, 0.22533, -6.77235, -12.83779, -18.91282, -22.86532, -25.1346]
    later = [18.18102, 21.78737, 12.54576, 6.60188, 0.55984, -6.423, -12.48461, -18.49211, -22.54112, -24.77265]
    np.testing.assert_allclose(rows[0, :10], first, atol=6e-6)
    np.testing.assert_allclose(rows[100, :10], later, atol=6e-6)


def test_silence_is_finite():
    rows = mfcc(np.zeros(1000, np.float32))
    np.testing.assert_allclose(rows[:, 0], -36.04365, atol=1e-5)
    np.testing.assert_allclose(rows[:, 1:], 0, atol=1e-12)


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3)])
def test_the_last_row_is_filled_up(samples, rows):
    assert len(mfcc(np.ones(samples, np.int16))) == rows


def test_bands_cover_all_bins_between_the_first_and_the_last_corner():
    bank = mel_bank(MFCCConfig())
    assert bank.shape == (26, 257)
    np.testing.assert_allclose(bank[:, 2:231].sum(axis=0), 1)
    assert not bank[:, 0].any() and not bank[:, 256].any()
    np.testing.assert_array_equal(bank.argmax(axis=1)[[0, 1, 24, 25]], [2, 4, 209, 231])


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.zeros((100, 2), np.float32)])
def test_no_sound_and_two_channels_are_refused(wave):
    with pytest.raises(ValueError, match="one channel"):
        mfcc(wave)
