"""What happens to speech between a mouth and a file: room, microphone, noise, levels, coding.

Every step keeps time: filters are minimum or zero phase, and a room's direct path arrives at once.
"""

import numpy as np
from jaxtyping import Float32
from scipy import fft
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

SAMPLE_RATE = 16_000

Audio = Float32[np.ndarray, "n"]


def _power(audio: np.ndarray) -> float:
    return float(np.mean(np.square(audio))) if len(audio) else 0.0


def coloured_noise(length: int, rng: np.random.Generator, exponent: float = 1.0) -> Audio:
    """Noise of unit power whose power falls as 1 / f**exponent (0 white, 1 pink, 2 brown)."""
    white = rng.standard_normal(length).astype(np.float32)
    if length < 2 or exponent == 0.0:
        return white
    size = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(np.pad(white, (0, size - length)))
    frequency = np.maximum(fft.rfftfreq(size, 1.0 / SAMPLE_RATE), 40.0).astype(np.float32)
    noise = fft.irfft(spectrum * frequency ** np.float32(-exponent / 2.0), size)[:length]
    return (noise / np.sqrt(_power(noise) + 1e-12)).astype(np.float32)


def hum(length: int, rng: np.random.Generator) -> Audio:
    """Mains hum: a 50 or 60 Hz tone with falling harmonics."""
    base = float(rng.choice([50.0, 60.0]))
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    orders = np.arange(1, 9)
    gains = rng.uniform(0.2, 1.0, 8) / orders
    phases = rng.uniform(0, 2 * np.pi, 8)
    out = sum(
        g * np.sin(2 * np.pi * base * k * time + p) for k, g, p in zip(orders, gains, phases, strict=True)
    )
    return out.astype(np.float32)


def music(length: int, rng: np.random.Generator) -> Audio:
    """Chords of decaying harmonic tones, the kind of bed that lies under a clip."""
    out = np.zeros(length, np.float32)
    position = -int(rng.integers(0, SAMPLE_RATE // 2))
    beat = int(SAMPLE_RATE * rng.uniform(0.25, 0.7))
    root = rng.uniform(80.0, 220.0)
    while position < length:
        size = int(beat * rng.uniform(1.0, 2.0))
        time = np.arange(size, dtype=np.float32) / SAMPLE_RATE
        note = np.zeros(size, np.float32)
        for semitone in rng.choice([0, 3, 4, 5, 7, 9, 10, 12, 16, 19], 3, replace=False):
            pitch = root * 2.0 ** (semitone / 12.0)
            for order in (1, 3):
                note += np.sin(np.float32(2 * np.pi * pitch * order) * time) / np.float32(order**1.5)
        note *= np.exp(-time / np.float32(rng.uniform(0.1, 0.8))) * np.minimum(time / np.float32(0.01), 1.0)
        start, stop = max(position, 0), min(position + size, length)
        if stop > start:
            out[start:stop] += note[start - position : stop - position]
        position += beat
    return out


def room(audio: Audio, rng: np.random.Generator, decay: float) -> Audio:
    """Reverberation by exponentially decaying noise; the direct path is kept in place.

    Args:
        decay: RT60 in seconds, the time after which the tail is 60 dB down.
    """
    size = int(min(decay, 0.6) * SAMPLE_RATE)
    time = np.arange(size) / SAMPLE_RATE
    tail = rng.standard_normal(size) * np.exp(-6.9 * time / decay)
    tail = lfilter([1.0 - 0.5], [1.0, -0.5], tail)  # walls and air take the treble
    tail[: int(rng.uniform(0.002, 0.012) * SAMPLE_RATE)] = 0.0
    tail *= 10.0 ** (rng.uniform(-16.0, -1.0) / 20.0) / np.sqrt(np.sum(tail**2) + 1e-9)
    response = tail.astype(np.float32)
    response[0] = 1.0
    return oaconvolve(audio, response)[: len(audio)].astype(np.float32)


def equalise(audio: Audio, rng: np.random.Generator) -> Audio:
    """A microphone: spectral tilt, a few broad resonances or dips, and often a limited band."""
    size = fft.next_fast_len(len(audio) + 2048, real=True)
    spectrum = fft.rfft(audio, size)
    frequency = fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    octave = np.log2(np.maximum(frequency, 60.0) / 1000.0)
    decibels = rng.normal(0.0, 2.0) * octave
    for _ in range(int(rng.integers(0, 4))):
        centre, width = rng.uniform(-3.0, 2.8), rng.uniform(0.2, 1.0)
        decibels = decibels + rng.normal(0.0, 5.0) * np.exp(-0.5 * ((octave - centre) / width) ** 2)
    gains = (10.0 ** (np.clip(decibels, -24, 24) / 20.0)).astype(np.float32)
    shaped = fft.irfft(spectrum * gains, size)[: len(audio)]
    band = rng.random()
    if band < 0.08:
        shaped = sosfilt(butter(4, [300.0, 3400.0], "bandpass", fs=SAMPLE_RATE, output="sos"), shaped)
    elif band < 0.30:
        cut = rng.uniform(3500.0, 7500.0)
        shaped = sosfilt(butter(4, cut, "lowpass", fs=SAMPLE_RATE, output="sos"), shaped)
    if rng.random() < 0.5:
        shaped = sosfilt(
            butter(2, rng.uniform(40.0, 180.0), "highpass", fs=SAMPLE_RATE, output="sos"), shaped
        )
    return shaped.astype(np.float32)


def compress(audio: Audio, rng: np.random.Generator) -> Audio:
    """Automatic gain: levels below the loudest rise; about 100 ms to react."""
    window = int(SAMPLE_RATE * 0.1)
    power = np.concatenate([np.zeros(1), np.cumsum(np.square(audio, dtype=np.float64))])
    left = np.clip(np.arange(len(audio)) - window, 0, None)
    level = np.sqrt((power[1:] - power[left]) / window) + 1e-4
    gain = (level / level.max()) ** -rng.uniform(0.1, 0.6)
    return (audio * np.minimum(gain, 12.0)).astype(np.float32)


def noise(length: int, rng: np.random.Generator, babble: Audio | None = None) -> Audio:
    """Background of unit power: coloured noise, hum, music, or other people's speech where `babble` is
    given."""
    kind = rng.random()
    if babble is not None and len(babble) and kind < 0.25:
        out = np.zeros(length, np.float32)
        for _ in range(int(rng.integers(1, 5))):
            out += np.take(babble, np.arange(length) + int(rng.integers(len(babble))), mode="wrap")
    elif kind < 0.40:
        out = music(length, rng)
    elif kind < 0.50:
        out = hum(length, rng)
    else:
        out = coloured_noise(length, rng, rng.uniform(0.0, 2.0))
        if rng.random() < 0.3:  # a background that comes and goes
            knots = rng.uniform(0.1, 1.0, 8)
            out = out * np.interp(np.linspace(0, 7, length), np.arange(8), knots).astype(np.float32)
    return (out / np.sqrt(_power(out) + 1e-9)).astype(np.float32)


def augment(
    audio: Audio, rng: np.random.Generator, babble: Audio | None = None, strength: float = 1.0
) -> Audio:
    """A random recording chain, without any shift in time.

    Args:
        audio: float32 16 kHz mono in [-1, 1]; silence is welcome.
        rng: draws everything; the same state gives the same samples.
        babble: any speech, at least a second, to be mixed underneath now and then.
        strength: 0 leaves the audio as it is, 1 is the full range.
    Returns:
        The same length, float32 in [-1, 1]: gain -20 to +6 dB around a peak of 0.5, noise at 5 to 40 dB SNR,
        RT60 0.1 to 0.8 s.
    """
    if strength <= 0.0 or not len(audio):
        return audio.astype(np.float32, copy=True)
    out = audio.astype(np.float32)
    reference = max(_power(out), 1e-5)
    if rng.random() < 0.7 * strength:
        out = equalise(out, rng)
        out = out * np.float32(np.sqrt(reference / max(_power(out), 1e-7)))
    if rng.random() < 0.55 * strength:
        out = room(out, rng, float(rng.uniform(0.1, 0.8)))
    if rng.random() < 0.8 * strength:
        ratio = rng.uniform(5.0, 40.0)
        out = out + np.float32(np.sqrt(reference) * 10.0 ** (-ratio / 20.0)) * noise(len(out), rng, babble)
    if rng.random() < 0.3 * strength:
        out = compress(out, rng)
    out = out * np.float32(0.5 / max(float(np.abs(out).max()), 1e-2))
    out = out * np.float32(10.0 ** (rng.uniform(-20.0, 6.0) * strength / 20.0))
    if rng.random() < 0.08 * strength:
        limit = np.float32(np.abs(out).max() * rng.uniform(0.4, 0.9) + 1e-6)
        out = np.clip(out, -limit, limit)
    if rng.random() < 0.1 * strength:
        steps = 2.0 ** int(rng.integers(7, 12))
        out = np.round(out * steps) / np.float32(steps)
    return np.clip(out, -1.0, 1.0).astype(np.float32)
