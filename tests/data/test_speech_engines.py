import numpy as np
import pytest

from lipforcing_jax.data import espeak, flite
from lipforcing_jax.data.formant import FormantEngine
from lipforcing_jax.data.phones import INVENTORY, Phone
from lipforcing_jax.data.speech import Utterance, available_engines, resize_voice, speak
from lipforcing_jax.errors import UserError

TEXT = "My mother found a purple mushroom."
ENGINES = available_engines()


def level(utterance: Utterance, start: float, end: float) -> float:
    part = utterance.audio[int(start * 16_000) : int(end * 16_000)]
    return float(np.sqrt(np.mean(part**2))) if len(part) else 0.0


def test_the_built_in_engine_is_always_there():
    assert ENGINES[-1].name == "formant"
    assert len(ENGINES[-1].voices) >= 10


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_an_utterance_is_sound_with_phones_in_order(engine):
    spoken = engine.speak(TEXT, engine.voices[0])
    assert spoken.audio.dtype == np.float32 and spoken.audio.ndim == 1
    assert 1.0 < len(spoken.audio) / 16_000 < 5.0
    assert 0.05 < np.abs(spoken.audio).max() <= 1.1
    assert {p.label for p in spoken.phones} <= INVENTORY
    assert all(p.start < p.end for p in spoken.phones)
    assert all(a.end <= b.start + 1e-6 for a, b in zip(spoken.phones, spoken.phones[1:], strict=False))
    assert spoken.phones[-1].end <= len(spoken.audio) / 16_000 + 0.02
    sounds = [p.label for p in spoken.phones if p.label != "pau"]
    assert sounds.count("m") >= 4 and sounds.count("p") == 2


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_vowels_are_loud_where_the_phones_say_so(engine):
    spoken = engine.speak(TEXT, engine.voices[0])
    vowels = [
        level(spoken, p.start, p.end) for p in spoken.phones if p.label in ("ah", "aw", "er", "uw", "ay")
    ]
    closures = [level(spoken, p.start + 0.01, p.start + 0.035) for p in spoken.phones if p.label == "p"]
    assert np.median(vowels) > 4 * np.median(closures)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_rate_shortens_and_calls_repeat(engine):
    voice = engine.voices[0]
    slow, fast = (engine.speak(TEXT, voice, rate=r) for r in (0.8, 1.4))
    assert len(fast.audio) < 0.8 * len(slow.audio)
    np.testing.assert_array_equal(slow.audio, engine.speak(TEXT, voice, rate=0.8).audio)


def test_formant_pitch_is_what_was_asked():
    engine = FormantEngine()
    periods = []
    for pitch in (1.0, 1.5):
        spoken = engine.speak("Mama", "tenor", pitch=pitch, seed=3)
        vowel = max(
            (p for p in spoken.phones if p.label in ("aa", "ae", "ah")), key=lambda p: p.end - p.start
        )
        part = spoken.audio[int(vowel.start * 16_000) : int(vowel.end * 16_000)]
        part = np.diff(part)
        correlation = np.correlate(part, part, "full")[len(part) - 1 :]
        low, high = int(85 / pitch), int(155 / pitch)  # less than an octave around 135 Hz times pitch
        periods.append(low + int(np.argmax(correlation[low:high])))
    assert periods[0] / periods[1] == pytest.approx(1.5, rel=0.1)


def test_a_resized_voice_scales_times_and_sound():
    spoken = FormantEngine().speak(TEXT, "tenor")
    smaller = resize_voice(spoken, 1.2)
    assert len(smaller.audio) == pytest.approx(len(spoken.audio) / 1.2, rel=1e-3)
    assert smaller.phones[5].start == pytest.approx(spoken.phones[5].start / 1.2)
    with pytest.raises(ValueError, match="factor"):
        resize_voice(spoken, 2.0)


def test_unknown_voice_is_one_sentence():
    with pytest.raises(UserError, match="No speech voice"):
        speak(ENGINES, TEXT, "nobody:nothing")


def test_flite_output_is_parsed():
    phones = flite.parse_phones("pau:0.164 hh:0.255 axr:0.304 odd nope:x t:0.4 ")
    assert phones == (
        Phone("pau", 0.0, 0.164), Phone("hh", 0.164, 0.255), Phone("er", 0.255, 0.304), Phone("t", 0.304, 0.4)
    )  # fmt: skip


def test_espeak_events_are_parsed():
    phones = espeak.parse_phones([["h", 12], ["oU", 67], ["_|", 67], ["b", 120], ["_:", 900]], 0.3)
    assert [p.label for p in phones] == ["hh", "pau", "b"]
    assert phones[-1] == Phone("b", 0.12, 0.3)


def test_without_programs_only_the_built_in_engine_speaks(monkeypatch):
    monkeypatch.setattr(flite.shutil, "which", lambda name: None)
    monkeypatch.setattr(espeak.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(espeak, "_loadable", lambda: False)
    assert [engine.name for engine in available_engines()] == ["formant"]
