"""A built-in formant synthesiser, for machines without a speech engine and for tests.

A voiced pulse train and noise go through a cascade of five resonators whose frequencies glide from phone to
phone; frication goes through one resonator of its own (after Klatt, "Software for a cascade/parallel formant
synthesizer", 1980, much reduced). It sounds like a machine, but has the cues that lips leave in sound:
closures, bursts, formants.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, sosfilt

from lipforcing_jax.data.letters import text_words
from lipforcing_jax.data.phones import DIPHTHONGS, VOWELS, Phone
from lipforcing_jax.data.utterance import SAMPLE_RATE, Utterance

STEP = 160  # samples per control frame: 10 ms

# F1, F2, F3 in Hz for a grown man; consonants have the places towards which their neighbours bend.
_FORMANTS = {
    "aa": (730, 1090, 2440),
    "ae": (660, 1720, 2410),
    "ah": (640, 1190, 2390),
    "ao": (570, 840, 2410),
    "ax": (500, 1400, 2400),
    "eh": (530, 1840, 2480),
    "er": (490, 1350, 1690),
    "ih": (390, 1990, 2550),
    "iy": (270, 2290, 3010),
    "uh": (440, 1020, 2240),
    "uw": (300, 870, 2240),
    "w": (290, 650, 2200),
    "y": (260, 2200, 3000),
    "r": (420, 1200, 1550),
    "l": (360, 1100, 2700),
    "m": (250, 1000, 2200),
    "n": (250, 1600, 2500),
    "ng": (250, 2000, 2600),
    "b": (220, 900, 2200),
    "p": (300, 900, 2200),
    "d": (220, 1700, 2600),
    "t": (300, 1700, 2600),
    "g": (220, 2000, 2400),
    "k": (300, 2000, 2400),
    "f": (340, 1100, 2100),
    "v": (260, 1100, 2100),
    "th": (320, 1400, 2550),
    "dh": (270, 1400, 2550),
    "s": (320, 1650, 2600),
    "z": (260, 1650, 2600),
    "sh": (300, 1800, 2500),
    "zh": (260, 1800, 2500),
    "ch": (300, 1800, 2500),
    "jh": (240, 1800, 2500),
    "hh": (500, 1500, 2500),
    "pau": (500, 1500, 2500),
}
# voicing, aspiration, frication gains; frication centre and bandwidth in Hz; seconds.
_SOURCES = {
    "m": (0.35, 0, 0, 0, 1, 0.075),
    "n": (0.35, 0, 0, 0, 1, 0.065),
    "ng": (0.35, 0, 0, 0, 1, 0.075),
    "l": (0.60, 0, 0, 0, 1, 0.065),
    "r": (0.60, 0, 0, 0, 1, 0.065),
    "w": (0.55, 0, 0, 0, 1, 0.070),
    "y": (0.55, 0, 0, 0, 1, 0.060),
    "hh": (0.0, 0.25, 0, 0, 1, 0.060),
    "f": (0, 0.02, 0.10, 5500, 5000, 0.100),
    "v": (0.30, 0, 0.05, 5000, 5000, 0.065),
    "th": (0, 0.02, 0.07, 6000, 4000, 0.090),
    "dh": (0.35, 0, 0.03, 5500, 4000, 0.050),
    "s": (0, 0, 0.55, 6200, 1800, 0.105),
    "z": (0.25, 0, 0.30, 6000, 1800, 0.080),
    "sh": (0, 0, 0.50, 3000, 1400, 0.110),
    "zh": (0.25, 0, 0.30, 3000, 1400, 0.080),
    "b": (0.10, 0, 0, 900, 900, 0.080),
    "p": (0, 0, 0, 900, 900, 0.095),
    "d": (0.10, 0, 0, 3800, 2200, 0.065),
    "t": (0, 0, 0, 4200, 2200, 0.085),
    "g": (0.10, 0, 0, 2100, 1000, 0.075),
    "k": (0, 0, 0, 2100, 1000, 0.090),
    "ch": (0, 0, 0, 3000, 1400, 0.120),
    "jh": (0.10, 0, 0, 3000, 1400, 0.095),
    "pau": (0, 0, 0, 0, 1, 0.22),
}
_BURSTS = {"b": 0.10, "p": 0.22, "d": 0.18, "t": 0.35, "g": 0.18, "k": 0.32, "ch": 0.45, "jh": 0.28}
_VOWEL_SECONDS = {
    "ax": 0.060,
    "ih": 0.080,
    "uh": 0.085,
    "ah": 0.090,
    "eh": 0.100,
    "er": 0.105,
    "iy": 0.105,
    "uw": 0.110,
    "aa": 0.130,
    "ae": 0.130,
    "ao": 0.130,
}


@dataclass(frozen=True)
class Voice:
    """Mean pitch in Hz, formants relative to a grown man's, share of breath in the voice source."""

    pitch: float
    formants: float
    breath: float


VOICES = {
    "baritone": Voice(105, 0.98, 0.05),
    "tenor": Voice(135, 1.02, 0.04),
    "countertenor": Voice(165, 1.05, 0.06),
    "alto": Voice(180, 1.12, 0.06),
    "mezzo": Voice(205, 1.16, 0.05),
    "soprano": Voice(230, 1.20, 0.07),
    "elder": Voice(120, 0.95, 0.16),
    "youth": Voice(150, 1.08, 0.05),
    "husky": Voice(170, 1.10, 0.25),
    "giant": Voice(80, 0.90, 0.06),
    "bass": Voice(90, 0.94, 0.04),
    "child": Voice(270, 1.28, 0.06),
}


def plan_phones(text: str, rate: float, rng: np.random.Generator) -> tuple[list[Phone], np.ndarray]:
    """Timed phones and, for each, its accent in [0, 1] (stressed vowels of longer words have most)."""
    phones, accents, time = [], [], 0.0

    def add(label: str, seconds: float, accent: float) -> None:
        nonlocal time
        phones.append(Phone(label, time, time + seconds))
        accents.append(accent)
        time += seconds

    add("pau", 0.12, 0.0)
    for word, labels in text_words(text):
        heavy, stressed = len(labels) > 2, False
        for label in labels:
            accent = 0.0
            if label in VOWELS and label != "ax" and heavy and not stressed:
                accent, stressed = float(rng.uniform(0.5, 1.0)), True
            seconds = 0.17 if label in DIPHTHONGS else _VOWEL_SECONDS.get(label) or _SOURCES[label][5]
            if label == "pau":
                seconds = 0.35 if word in ".!?" else 0.22
            add(label, seconds * (1.0 + 0.35 * accent) * float(np.exp(rng.normal(0.0, 0.12))) / rate, accent)
    add("pau", 0.12, 0.0)
    return phones, np.array(accents)


def _controls(phones: list[Phone], accents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per 10 ms frame: formants [t, 3]; (voicing, aspiration, frication, centre, bandwidth) [t, 5]."""
    count = int(np.ceil(phones[-1].end * SAMPLE_RATE / STEP))
    formants, sources = np.zeros((count, 3)), np.zeros((count, 5))
    for phone, accent in zip(phones, accents, strict=True):
        a, b = round(phone.start * SAMPLE_RATE / STEP), round(phone.end * SAMPLE_RATE / STEP)
        first, second = DIPHTHONGS.get(phone.label, (phone.label, phone.label))
        glide = np.clip((np.linspace(0, 1, max(b - a, 1)) - 0.3) / 0.4, 0, 1)[: b - a, None]
        formants[a:b] = (1 - glide) * np.array(_FORMANTS[first]) + glide * np.array(_FORMANTS[second])
        sources[a:b] = (
            (0.8 + 0.3 * accent, 0, 0, 0, 1) if phone.label in VOWELS else _SOURCES[phone.label][:5]
        )
        if phone.label in _BURSTS:
            release = max(b - (4 if phone.label in ("ch", "jh") else 2), a)
            sources[release:b, 2] = _BURSTS[phone.label]
            sources[release:b, 1] = 0.08 if phone.label in "ptk" else 0.0
    formants = gaussian_filter1d(formants, 1.5, axis=0, mode="nearest")
    sources[:, :2] = gaussian_filter1d(sources[:, :2], 0.7, axis=0, mode="nearest")
    sources[:, 2] = gaussian_filter1d(sources[:, 2], 0.4, mode="nearest")
    return formants, sources


def _pitch(
    phones: list[Phone],
    accents: np.ndarray,
    count: int,
    question: bool,
    mean: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fundamental frequency per frame: declination, accents, a last fall or rise, and a little drift."""
    times = np.arange(count) * STEP / SAMPLE_RATE
    octaves = 0.12 - 0.3 * times / max(times[-1], 0.1)
    for phone, accent in zip(phones, accents, strict=True):
        if accent > 0:
            octaves += 0.28 * accent * np.exp(-0.5 * ((times - phone.start - 0.05) / 0.09) ** 2)
    octaves += (0.5 if question else -0.2) * np.clip((times - times[-1] + 0.5) / 0.4, 0, 1)
    drift = gaussian_filter1d(rng.standard_normal(count), 10.0, mode="nearest")
    return mean * 2.0 ** (octaves + 0.15 * drift)


def _resonators(frequency: np.ndarray, bandwidth: np.ndarray) -> np.ndarray:
    """[..., 6] second-order sections with unit gain at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    a1 = -2.0 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
    a2 = radius**2
    zero, one = np.zeros_like(a1), np.ones_like(a1)
    return np.stack([1.0 + a1 + a2, zero, zero, one, a1, a2], axis=-1)


def _filter(signal: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Filter with coefficients [t, k, 6] that change every control frame; the state runs on."""
    out, state = np.empty_like(signal), np.zeros((sections.shape[1], 2))
    for i, section in enumerate(sections):
        out[i * STEP : (i + 1) * STEP], state = sosfilt(section, signal[i * STEP : (i + 1) * STEP], zi=state)
    return out


def synthesise(
    phones: list[Phone],
    accents: np.ndarray,
    voice: Voice,
    pitch: float,
    question: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """float32 16 kHz samples of planned phones, peak 0.6."""
    formants, sources = _controls(phones, accents)
    count = len(formants)
    per_sample = np.repeat(_pitch(phones, accents, count, question, voice.pitch * pitch, rng), STEP)
    phase = np.cumsum(per_sample / SAMPLE_RATE) % 1.0
    opening = np.clip(phase / 0.6, 0, 1)
    pulses = np.diff(np.where(opening < 1, opening**2 * (1 - opening), 0.0), prepend=0.0) * 12.0
    noise = rng.standard_normal(count * STEP)
    gains = np.stack(
        [np.interp(np.arange(count * STEP), np.arange(count) * STEP, sources[:, k]) for k in range(3)]
    )
    source = gains[0] * (pulses + voice.breath * 0.2 * noise) + gains[1] * 0.3 * noise
    frequency = np.concatenate([formants, np.tile([3500.0, 4500.0], (count, 1))], axis=1) * voice.formants
    bands = np.tile([70.0, 95.0, 140.0, 220.0, 300.0], (count, 1))
    speech = _filter(source, _resonators(np.minimum(frequency, 7600.0), bands))
    centres = np.clip(sources[:, 3] * (0.5 + 0.5 * voice.formants), 300.0, 7400.0)[:, None]
    hiss = _filter(noise * gains[2], _resonators(centres, np.maximum(sources[:, 4:5], 400.0)))
    speech = lfilter([1.0, -0.92], [1.0], speech) * 3.0 + 0.35 * lfilter([1.0, -0.95], [1.0], hiss)
    return (0.6 * speech / (np.abs(speech).max() + 1e-9)).astype(np.float32)


class FormantEngine:
    """The synthesiser behind the `SpeechEngine` protocol; there on every machine."""

    name = "formant"

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(VOICES)

    def speak(self, text: str, voice: str, rate: float = 1.0, pitch: float = 1.0, seed: int = 0) -> Utterance:
        """See `SpeechEngine.speak`; `seed` varies durations and melody."""
        rng = np.random.default_rng([seed, 0xF0])
        phones, accents = plan_phones(text, rate, rng)
        audio = synthesise(phones, accents, VOICES[voice], pitch, text.rstrip().endswith("?"), rng)
        end = len(audio) / SAMPLE_RATE
        return Utterance(
            audio, tuple(p._replace(end=min(p.end, end)) for p in phones), f"formant:{voice}", text
        )
