"""The espeak-ng engine: phoneme events of the library, read in a short-lived process of its own."""

import ctypes.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soxr

from lipforcing_jax.data.phones import Phone, from_espeak
from lipforcing_jax.data.utterance import SAMPLE_RATE, Utterance
from lipforcing_jax.errors import UserError

# language+variant: variants differ in formants, breathiness and voice source; the other languages read
# English
#: text with a foreign accent, which is one more way of speaking.
_VOICES = tuple(
    """
    en-us+m1 en-us+m3 en-us+f1 en-us+f3 en-us+f4 en-us+klatt2 en-us+klatt4 en-us+linda en-us+steph
    en-us+paul en-us+whisper en-us+Alex en-us+michel en-us+max en+m2 en+f2 en-gb-x-rp+m7
    en-gb-scotland+f5 en-gb-x-gbcwmd+m5 en-us-nyc+belinda en-029+m8 en-us+travis de+m2 de+f1 es+f2
    es-419+m1 it+f4 nl+m5 pl+f3 pt-br+m3 sv+f2 en-us+m4 en-us+f5 en+klatt3 en-us+anika en-us+david fi+m6
    en-us+m2 en-us+m6 en-us+f2 en-us+klatt5 en-us+klatt6 en-us+Andy en-us+Annie en-us+Denis en-us+Diogo
    en-us+Gene en-us+Henrique en-us+Hugo en-us+Jacky en-us+Lee en-us+Marco en-us+Mario en-us+Michael
    en-us+Mike en-us+quincy en-us+rob en-us+RicishayMax3 en-us+shelby en-us+sandro en-us+victor en-us+zac
    en-us+adam en-us+Alicia en-us+Andrea en-us+boris en-us+ed en-us+edward en-us+grandma en-us+grandpa
    en-us+gustave en-us+iven en-us+john en-us+miguel en-us+norbert en-gb-x-gbclan+m1 fr+f2 da+m1 nb+f4
    hu+m4 ro+f1 cs+m2 tr+f3 el+m5 hr+f5 id+m7 ca+f2 af+m3
    """.split()  # noqa: SIM905 - a table
)
_WORDS_PER_MINUTE = 165


def parse_phones(events: list[list], end: float) -> tuple[Phone, ...]:
    """Phones from (mnemonic, milliseconds) events; each lasts until the next begins, the last until `end`
    seconds."""
    times = [milliseconds / 1000.0 for _, milliseconds in events] + [end]
    return tuple(
        Phone(from_espeak(name), start, min(stop, end))
        for (name, _), start, stop in zip(events, times, times[1:], strict=False)
        if min(stop, end) > start
    )


class EspeakEngine:
    """Speaks through libespeak-ng; without it there are no voices."""

    name = "espeak"

    @property
    def voices(self) -> tuple[str, ...]:
        return _VOICES if ctypes.util.find_library("espeak-ng") or _loadable() else ()

    def speak(self, text: str, voice: str, rate: float = 1.0, pitch: float = 1.0, seed: int = 0) -> Utterance:
        """See `SpeechEngine.speak`; `seed` sets how lively the intonation is.

        Raises:
            UserError: espeak-ng failed.
        """
        lively = int(np.random.default_rng([seed, 0xE5]).integers(30, 90))
        request = {
            "voice": voice,
            "rate": int(np.clip(_WORDS_PER_MINUTE * rate, 80, 400)),
            "pitch": int(np.clip(50 + 62 * np.log2(pitch), 0, 99)),
            "range": lively,
            "texts": [text],
        }
        worker = Path(__file__).with_name("espeak_worker.py")
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(worker)],
            input=json.dumps(request).encode() + b"\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode or not done.stdout:
            reason = done.stderr.decode(errors="replace").strip()[-200:]
            raise UserError(f"espeak-ng could not speak {text!r} with the voice {voice}: {reason}.")
        line, _, data = done.stdout.partition(b"\n")
        header = json.loads(line)
        samples = np.frombuffer(data, "<i2", header["samples"]).astype(np.float32) / 32768.0
        phones = parse_phones(header["phones"], len(samples) / header["rate"])
        return Utterance(soxr.resample(samples, header["rate"], SAMPLE_RATE), phones, f"espeak:{voice}", text)


def _loadable() -> bool:
    """`find_library` needs a compiler or ldconfig; loading by its name needs neither."""
    try:
        ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        return False
    return True
