"""Ready clips for training: exactly so many seconds of speech, its phones, and its mouth.

`sample_utterance` is a pure function of its arguments (and of the engines installed). Sentences, voices and
seeds of the two splits are disjoint.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data import acoustics
from lipforcing_jax.data.articulation import MouthStyle, mouth_track, random_style
from lipforcing_jax.data.phones import Phone
from lipforcing_jax.data.sentences import SPLITS, sentence
from lipforcing_jax.data.speech import (
    SAMPLE_RATE,
    SpeechEngine,
    Utterance,
    available_engines,
    resize_voice,
    speak,
)

FPS = 25

#: Never heard in training.
HELDOUT_VOICES = frozenset(
    {
        "flite:awb",
        "espeak:en-us+m4",
        "espeak:en-us+f5",
        "espeak:en+klatt3",
        "espeak:en-us+anika",
        "espeak:en-us+david",
        "espeak:fi+m6",
        "formant:bass",
        "formant:child",
    }
)
#: How often an engine is drawn, where it is there: recorded voices are few, but closest to people.
_SHARE = {"flite": 0.6, "espeak": 0.4, "formant": 0.0}


def voices_of(split: str, engines: tuple[SpeechEngine, ...]) -> dict[str, list[str]]:
    """Per engine name, the full voice names (`engine:voice`) of a split."""
    chosen = {}
    for engine in engines:
        names = [f"{engine.name}:{voice}" for voice in engine.voices]
        names = [name for name in names if (name in HELDOUT_VOICES) == (split == "heldout")]
        if names:
            chosen[engine.name] = names
    return chosen


def _draw_voice(rng: np.random.Generator, split: str, engines: tuple[SpeechEngine, ...]) -> str:
    by_engine = voices_of(split, engines)
    weights = np.array([_SHARE[name] for name in by_engine]) + 1e-9
    name = list(by_engine)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return by_engine[name][int(rng.integers(len(by_engine[name])))]


def _level(audio: np.ndarray) -> np.ndarray:
    loud = np.sqrt(np.mean(np.square(audio[np.abs(audio) > 0.01]))) if np.any(np.abs(audio) > 0.01) else 1.0
    return (audio * (0.12 / loud)).astype(np.float32)


def _trim(utterance: Utterance, margin: float = 0.03) -> tuple[np.ndarray, list[Phone]]:
    """Without the silence at both ends."""
    sounded = [p for p in utterance.phones if p.label != "pau"]
    if not sounded:
        return utterance.audio[:0], []
    start = max(sounded[0].start - margin, 0.0)
    stop = min(sounded[-1].end + margin, len(utterance.audio) / SAMPLE_RATE)
    phones = [
        Phone(p.label, max(p.start, start) - start, min(p.end, stop) - start)
        for p in utterance.phones
        if p.end > start and p.start < stop
    ]
    return utterance.audio[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)], phones


def inhalation(seconds: float, rng: np.random.Generator) -> Float32[np.ndarray, "n"]:
    """The sound of breathing in: faint noise around 1 to 3 kHz that swells and stops."""
    length = int(seconds * SAMPLE_RATE)
    sound = acoustics.coloured_noise(length, rng, 0.8)
    shape = np.sin(np.pi * np.linspace(0.0, 1.0, length) ** rng.uniform(0.7, 1.6)) ** 1.5
    return (sound * shape * 10.0 ** (rng.uniform(-60.0, -38.0) / 20.0)).astype(np.float32)


def pause(seconds: float, rng: np.random.Generator, before_speech: bool) -> tuple[np.ndarray, list[Phone]]:
    """Silence; before speech its end is mostly a breath: talkers open their mouths to inhale, then begin.

    Every breath can be heard, if faintly: from a silent one no ear could tell a mouth at rest.
    """
    audio = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    if not before_speech or seconds < 0.2 or rng.random() < 0.12:
        return audio, [Phone("pau", 0.0, seconds)]
    stop = seconds - rng.uniform(0.02, 0.05)
    length = min(rng.uniform(0.55, 1.0) * stop, rng.uniform(0.4, 0.9))
    start = stop - length
    sound = inhalation(length, rng)
    begin = int(start * SAMPLE_RATE)
    audio[begin : begin + len(sound)] += sound[: len(audio) - begin]
    return audio, [Phone("pau", 0.0, start), Phone("breath", start, stop), Phone("pau", stop, seconds)]


def _cached(cache: Path | None, key: tuple, make) -> Utterance:
    """`make()`, remembered on disk as 16-bit samples and phones where a folder is given."""
    if cache is None:
        return make()
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    path = cache / name[:2] / f"{name}.npz"
    if path.exists():
        with np.load(path) as stored:
            phones = tuple(
                Phone(str(label), float(a), float(b))
                for label, (a, b) in zip(stored["labels"], stored["times"], strict=True)
            )
            return Utterance(stored["audio"].astype(np.float32) / 32767.0, phones, key[0], key[1])
    made = make()
    made = Utterance(np.clip(made.audio, -1.0, 1.0), made.phones, made.voice, made.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{np.random.default_rng().integers(1 << 40):x}.tmp")
    with partial.open("wb") as file:
        np.savez(
            file,
            audio=np.round(made.audio * 32767.0).astype(np.int16),
            labels=[p.label for p in made.phones],
            times=np.array([[p.start, p.end] for p in made.phones], np.float32).reshape(-1, 2),
        )
    partial.replace(path)
    return made


def _talk(
    rng: np.random.Generator,
    split: str,
    seconds: float,
    engines: tuple[SpeechEngine, ...],
    cache: Path | None,
) -> tuple[np.ndarray, list[Phone]]:
    """At least `seconds` of one speaker, sentence after sentence with pauses between."""
    voice = _draw_voice(rng, split, engines)
    rate, pitch = (
        float(np.round(rng.uniform(0.8, 1.35), 2)),
        float(np.round(np.exp(rng.normal(0.0, 0.12)), 2)),
    )
    factor = float(np.round(rng.uniform(0.86, 1.18), 3))
    audio, phones, length = [], [], 0
    between = "lead" if rng.random() < 0.3 else "none"
    while length < seconds * SAMPLE_RATE:
        if between != "none":
            gap = rng.uniform(0.2, 0.8) if between == "mid" else rng.uniform(0.2, 1.2)
            parts = [pause(gap, rng, before_speech=True)]
        else:
            parts = []
        text_seed, tone = int(rng.integers(1 << 40)), int(rng.integers(1 << 16))
        text = sentence(text_seed, split)
        spoken = _cached(
            cache,
            (voice, text, rate, pitch, tone),
            lambda t=text, s=tone: speak(engines, t, voice, rate, pitch, s),
        )
        parts.append(_trim(resize_voice(spoken, factor)))
        for sound, segment in parts:
            offset = length / SAMPLE_RATE
            audio.append(_level(sound) if sound is parts[-1][0] else sound)
            phones += [Phone(p.label, p.start + offset, p.end + offset) for p in segment]
            length += len(sound)
        between = "mid"
        if rng.random() < 0.1:  # the speaker has finished
            rest = rng.uniform(0.5, 2.0)
            sound, segment = pause(rest, rng, before_speech=False)
            audio.append(sound)
            phones += [
                Phone(p.label, p.start + length / SAMPLE_RATE, p.end + length / SAMPLE_RATE) for p in segment
            ]
            length += len(sound)
    return np.concatenate(audio), phones


def sample_utterance(
    seed: int,
    split: str = "train",
    seconds: float = 3.0,
    *,
    engines: tuple[SpeechEngine, ...] | None = None,
    cache_dir: str | Path | None = None,
    style: MouthStyle | None = None,
) -> tuple[Float32[np.ndarray, "n"], tuple[Phone, ...], Float32[np.ndarray, "t 6"]]:
    """One deterministic clip of clean speech with its phones and mouth.

    Args:
        seed: any non-negative integer; splits never share sentences or voices.
        split: `"train"` or `"heldout"`.
        seconds: exact length; a multiple of 0.04 fills every video frame.
        engines: from `available_engines()`; looked up when `None`.
        cache_dir: where spoken sentences are kept between calls; nothing is written when `None`.
        style: the speaker's articulation; drawn from the seed when `None`.
    Returns:
        Audio float32 [seconds * 16000]; phones within it; mouth float32 [round(seconds * 25), 6].
    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 0xA0D10])
    drawn = random_style(rng)
    style = style or drawn
    frames, samples = round(seconds * FPS), round(seconds * SAMPLE_RATE)
    kind = rng.random()
    if kind < 0.03:
        audio = np.zeros(samples, np.float32)
        if kind < 0.015:
            audio += acoustics.coloured_noise(samples, rng, rng.uniform(0, 2)) * np.float32(
                10 ** (rng.uniform(-70, -35) / 20)
            )
        phones: list[Phone] = [Phone("pau", 0.0, seconds)]
        return audio, tuple(phones), mouth_track(phones, frames, FPS, style)
    engines = available_engines() if engines is None else engines
    cache = Path(cache_dir) if cache_dir is not None else None
    extra = rng.uniform(0.0, 1.5) if rng.random() < 0.7 else 0.0
    audio, phones = _talk(rng, split, seconds + extra, engines, cache)
    first = round(extra * FPS)
    mouth = mouth_track(phones, first + frames, FPS, style, audio)[first:]
    offset = first / FPS
    cut = audio[first * 640 : first * 640 + samples]
    cut = np.pad(cut, (0, samples - len(cut)))
    inside = tuple(
        Phone(p.label, max(p.start - offset, 0.0), min(p.end - offset, seconds))
        for p in phones
        if p.end > offset and p.start < offset + seconds
    )
    return cut, inside, mouth
