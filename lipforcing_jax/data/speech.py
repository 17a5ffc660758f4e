"""Speech with known phone timing: the choice of engine, and voice transforms.

Engines are stateless: each call starts its own short-lived process (or computes in NumPy), so that a crash or
the global state of a C library can not leak from one utterance into the next.
"""

from dataclasses import replace

import numpy as np
import soxr

from lipforcing_jax.data import espeak, flite, formant
from lipforcing_jax.data.phones import Phone
from lipforcing_jax.data.utterance import SAMPLE_RATE, SpeechEngine, Utterance
from lipforcing_jax.errors import UserError


def available_engines() -> tuple[SpeechEngine, ...]:
    """The engines that work on this machine, best first; the built-in formant synthesiser is always the
    last."""
    candidates = (flite.FliteEngine(), espeak.EspeakEngine(), formant.FormantEngine())
    return tuple(engine for engine in candidates if engine.voices)


def speak(
    engines: tuple[SpeechEngine, ...],
    text: str,
    voice: str,
    rate: float = 1.0,
    pitch: float = 1.0,
    seed: int = 0,
) -> Utterance:
    """Speak with a voice given as `engine:voice`.

    Raises:
        UserError: no such engine or voice here.
    """
    name, _, own = voice.partition(":")
    for engine in engines:
        if engine.name == name and own in engine.voices:
            return engine.speak(text, own, rate, pitch, seed)
    raise UserError(f"No speech voice {voice!r} on this machine; install its engine or choose another voice.")


def resize_voice(utterance: Utterance, factor: float) -> Utterance:
    """The same speech from a larger or smaller head: formants and pitch times `factor`, times divided by it.

    Args:
        factor: 0.7 to 1.4; 1.1 is a smaller, higher speaker who talks 1.1 times as fast.
    """
    if not 0.7 <= factor <= 1.4:
        raise ValueError(f"factor must lie in [0.7, 1.4], not {factor}")
    if factor == 1.0:
        return utterance
    audio = soxr.resample(utterance.audio, SAMPLE_RATE * factor, SAMPLE_RATE, quality="HQ").astype(np.float32)
    phones = tuple(Phone(p.label, p.start / factor, p.end / factor) for p in utterance.phones)
    return replace(utterance, audio=audio, phones=phones)
