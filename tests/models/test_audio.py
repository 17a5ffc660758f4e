"""Nano's ear: bounded context, so windows and whole files agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.models import audio
from lipforcing_jax.models.audio import LogMelEncoder, context, log_mel, mel_filters
from lipforcing_jax.models.presets import LogMelConfig

CFG = LogMelConfig(width=32, features=16, memory=20)
encode_clip, encode_window = jax.jit(audio.encode_clip), jax.jit(audio.encode_window)


@pytest.fixture(scope="module")
def encoder():
    return nnx.jit(lambda: LogMelEncoder(CFG, rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def sound():
    return jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (1, 60 * 640)), jnp.float32)


def test_a_window_gives_the_features_of_the_whole_clip(encoder, sound):
    before, after = context(CFG)
    whole = encode_clip(encoder, sound)
    assert whole.shape == (1, 60, 16)
    first, last = 35, 47
    window = sound[:, (first - before) * 640 : (last + after) * 640]
    np.testing.assert_allclose(encode_window(encoder, window), whole[:, first:last], atol=1e-5)


def test_sound_beyond_the_look_ahead_changes_nothing(encoder, sound):
    changed = encode_clip(encoder, sound.at[:, 30 * 640 :].set(0.0))
    reach = CFG.look_ahead + 1
    np.testing.assert_allclose(changed[:, : 30 - reach], encode_clip(encoder, sound)[:, : 30 - reach], atol=1e-5)


def test_sound_within_the_look_ahead_matters(encoder, sound):
    changed = encode_clip(encoder, sound.at[:, 30 * 640 : 31 * 640].multiply(5.0))
    difference = np.abs(changed - encode_clip(encoder, sound))[0].max(axis=1)
    assert difference[30 - CFG.look_ahead] > 1e-4 and difference[30] > 1e-3


def test_the_usual_spectrum_is_that_of_the_loud(encoder):
    energies = np.full((1, 30, 4), -2.3, np.float32)
    energies[0, 10:20] = np.linspace(0.2, 0.8, 4)
    usual = np.asarray(audio.usual_spectrum(jnp.asarray(energies), 20))
    assert usual.shape == (1, 10, 4)
    assert np.abs(usual[0, 0] - energies[0, 10]).max() < 0.1, "ten silent frames and ten of speech, and one more"
    silent = np.asarray(audio.usual_spectrum(jnp.full((1, 30, 4), -2.3), 20))
    assert np.abs(silent).max() < 0.1


def test_a_speaker_s_past_matters(encoder, sound):
    """Only the frames of the memory, and nothing before them."""
    changed = sound.at[:, : 10 * 640].multiply(5.0)
    difference = np.abs(encode_clip(encoder, changed) - encode_clip(encoder, sound))[0].max(axis=1)
    reach = CFG.memory + 2 * CFG.layers
    assert difference[10 + reach - 4] > 1e-5 and difference[10 + reach + 2 :].max() < 1e-5


def test_log_mel_has_four_rows_per_frame_and_finds_the_band_of_a_tone():
    tone = jnp.asarray(0.5 * np.sin(2 * np.pi * 1000 * np.arange(6400) / 16000), jnp.float32)[None]
    rows = np.asarray(log_mel(tone, CFG))
    assert rows.shape == (1, 40, CFG.bands)
    frequencies = np.fft.rfftfreq(CFG.n_fft, 1 / 16000)
    centre = frequencies @ mel_filters(CFG.bands, CFG.n_fft, 16000)
    centre /= mel_filters(CFG.bands, CFG.n_fft, 16000).sum(axis=0)
    assert abs(centre[rows[0, 20].argmax()] - 1000) < 60


def test_silence_is_finite_and_constant(encoder):
    features = np.asarray(encode_clip(encoder, jnp.zeros((1, 20 * 640))))
    assert np.isfinite(features).all() and features.std(axis=1).max() < 1e-5
