import numpy as np
import pytest

from lipforcing_jax.data import acoustics
from lipforcing_jax.data.acoustics import augment


def clip(seconds: float = 2.0) -> np.ndarray:
    """Noise bursts with silence between, a stand-in for speech whose envelope is known."""
    rng = np.random.default_rng(1)
    length = int(seconds * 16_000)
    envelope = (np.arange(length) // 3200 % 2).astype(np.float32)
    return (0.1 * envelope * rng.standard_normal(length)).astype(np.float32)


def envelope(audio: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(audio[: len(audio) // 160 * 160].reshape(-1, 160)), axis=1))


def test_same_state_same_samples():
    audio = clip()
    one, two = (augment(audio, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, augment(audio, np.random.default_rng(6)))


def test_length_type_and_range():
    audio = clip()
    for seed in range(60):
        out = augment(audio, np.random.default_rng(seed), babble=audio)
        assert out.shape == audio.shape and out.dtype == np.float32
        assert np.isfinite(out).all() and np.abs(out).max() <= 1.0


def test_no_shift_in_time():
    audio = clip(3.0)
    reference = envelope(audio) - envelope(audio).mean()
    shifts = []
    for seed in range(40):
        heard = envelope(augment(audio, np.random.default_rng(seed)))
        heard = heard - heard.mean()
        scores = [np.dot(reference[10:-10], np.roll(heard, -lag)[10:-10]) for lag in range(-8, 9)]
        shifts.append(int(np.argmax(scores)) - 8)
    assert abs(np.median(shifts)) <= 1 and np.mean(np.abs(shifts)) < 1.5  # in 10 ms


def test_strength_zero_is_identity():
    np.testing.assert_array_equal(augment(clip(), np.random.default_rng(0), strength=0.0), clip())


@pytest.mark.parametrize("length", [0, 1, 100, 1600])
def test_silence_and_short_clips(length):
    for seed in range(20):
        out = augment(np.zeros(length, np.float32), np.random.default_rng(seed))
        assert out.shape == (length,) and np.isfinite(out).all()


def test_room_keeps_the_direct_path_and_adds_a_tail():
    audio = np.zeros(16_000, np.float32)
    audio[1000] = 1.0
    out = acoustics.room(audio, np.random.default_rng(0), 0.4)
    assert np.argmax(np.abs(out)) == 1000
    assert np.abs(out[:1000]).max() < 1e-5
    early, late = np.sum(out[1001:4000] ** 2), np.sum(out[7000:10_000] ** 2)
    assert early > 50 * late > 0


def test_noise_colours():
    def tilt(exponent):
        spectrum = (
            np.abs(np.fft.rfft(acoustics.coloured_noise(32_000, np.random.default_rng(0), exponent))) ** 2
        )
        return spectrum[400:1000].mean() / spectrum[8000:].mean()

    assert 0.8 < tilt(0.0) < 1.25
    assert tilt(2.0) > 5 * tilt(1.0) > 10


def test_background_has_unit_power():
    for seed in range(20):
        out = acoustics.noise(16_000, np.random.default_rng(seed), babble=clip())
        assert np.mean(out**2) == pytest.approx(1.0, rel=1e-3)
