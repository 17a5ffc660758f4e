"""The flite engine: its command line prints when every phone ends."""

import io
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float32

from lipforcing_jax.data.phones import Phone, from_flite
from lipforcing_jax.data.utterance import SAMPLE_RATE, Utterance
from lipforcing_jax.errors import UserError

#: Voice and its own mean pitch in Hz.
_VOICES = {"awb": 125.0, "rms": 95.0, "slt": 170.0, "kal16": 105.0}


def parse_phones(printed: str) -> tuple[Phone, ...]:
    """Phones from flite's `name:end name:end ...`; each begins where the one before it ends."""
    phones, start = [], 0.0
    for word in printed.split():
        name, _, end = word.rpartition(":")
        try:
            stop = float(end)
        except ValueError:
            continue
        if name and stop > start:
            phones.append(Phone(from_flite(name), start, stop))
            start = stop
    return tuple(phones)


def read_wave(data: bytes) -> Float32[np.ndarray, "n"]:
    """16-bit mono PCM in a WAV container, as float32 at 16 kHz."""
    with wave.open(io.BytesIO(data)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768.0
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE)


class FliteEngine:
    """Speaks through the `flite` program; without it there are no voices."""

    name = "flite"

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(_VOICES) if shutil.which("flite") else ()

    def speak(self, text: str, voice: str, rate: float = 1.0, pitch: float = 1.0, seed: int = 0) -> Utterance:
        """See `SpeechEngine.speak`; `seed` is not used, flite has no randomness.

        Raises:
            UserError: flite failed.
        """
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "speech.wav"
            command = [
                "flite",
                "-voice",
                voice,
                "-psdur",
                "--setf",
                f"duration_stretch={1.0 / rate:.4f}",
                "--setf",
                f"int_f0_target_mean={_VOICES[voice] * pitch:.2f}",
                "-t",
                text,
                "-o",
                str(out),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode or not out.exists():
                raise UserError(
                    f"flite could not speak {text!r} with the voice {voice}: {done.stderr.strip()[:200]}."
                )
            audio = read_wave(out.read_bytes())
        return Utterance(audio, parse_phones(done.stdout), f"flite:{voice}", text)
