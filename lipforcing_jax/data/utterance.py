"""What speech engines give and have to offer: an utterance with its phones, and the engines' protocol."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from lipforcing_jax.data.phones import Phone

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Utterance:
    """One spoken text.

    Attributes:
        audio: float32 mono at 16 kHz in [-1, 1].
        phones: in order of time, seconds, labels of `phones.INVENTORY`.
        voice: `engine:voice`.
        text: what was said.
    """

    audio: Float32[np.ndarray, "n"]
    phones: tuple[Phone, ...]
    voice: str
    text: str


class SpeechEngine(Protocol):
    """Turns text into sound and phone times."""

    name: str

    @property
    def voices(self) -> tuple[str, ...]:
        """Names accepted by `speak`."""
        ...

    def speak(self, text: str, voice: str, rate: float = 1.0, pitch: float = 1.0, seed: int = 0) -> Utterance:
        """Speak `text`; `rate` and `pitch` are factors around the voice's own (2 is twice as fast, an octave
        up)."""
        ...
