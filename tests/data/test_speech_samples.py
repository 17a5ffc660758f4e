import numpy as np
import pytest

from lipforcing_jax.data.formant import FormantEngine
from lipforcing_jax.data.sentences import split_of
from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.data.speech_samples import HELDOUT_VOICES, sample_utterance, voices_of


class Listener(FormantEngine):
    """Remembers what it was asked to say."""

    def __init__(self):
        self.said = []

    def speak(self, text, voice, rate=1.0, pitch=1.0, seed=0):
        self.said.append((text, voice))
        return super().speak(text, voice, rate, pitch, seed)


ENGINE = (FormantEngine(),)


def test_a_clip_has_exactly_its_length_and_repeats():
    for seed in range(4):
        audio, phones, mouth = sample_utterance(seed, "train", 2.6, engines=ENGINE)
        assert audio.shape == (41_600,) and audio.dtype == np.float32
        assert mouth.shape == (65, 6) and mouth.dtype == np.float32
        assert phones[0].start >= 0.0 and phones[-1].end <= 2.6 + 1e-6
        again = sample_utterance(seed, "train", 2.6, engines=ENGINE)
        np.testing.assert_array_equal(audio, again[0])
        np.testing.assert_array_equal(mouth, again[2])


def test_splits_share_neither_sentences_nor_voices():
    heard = {}
    for split in ("train", "heldout"):
        engine = Listener()
        for seed in range(6):
            sample_utterance(seed, split, 1.0, engines=(engine,))
        assert {split_of(text) for text, _ in engine.said} == {split}
        heard[split] = {voice for _, voice in engine.said}
    assert not heard["train"] & heard["heldout"]


def test_every_engine_has_voices_in_both_splits():
    engines = available_engines()
    train, heldout = voices_of("train", engines), voices_of("heldout", engines)
    assert set(train) == set(heldout) == {engine.name for engine in engines}
    assert sum(map(len, train.values())) >= 8
    assert {name for names in heldout.values() for name in names} <= HELDOUT_VOICES
    assert not {name for names in train.values() for name in names} & HELDOUT_VOICES


def test_mouth_opens_in_speech_and_closes_in_silent_clips():
    silent, spoken = 0, []
    for seed in range(30):
        _, phones, mouth = sample_utterance(seed, "train", 0.4, engines=ENGINE)
        if {phone.label for phone in phones} == {"pau"}:
            silent += 1
            assert mouth[:, 1].max() < 0.15
        else:
            spoken.append(mouth[:, 1].max())
    assert 1 <= silent <= 6
    assert np.median(spoken) > 0.3


def test_every_breath_can_be_heard():
    breaths = []
    for seed in range(24):
        audio, phones, _ = sample_utterance(seed, "train", 3.0, engines=ENGINE)
        spans = [(p.start, p.end) for p in phones if p.label == "breath" and p.end - p.start > 0.2]
        breaths += [audio[int(start * 16_000) : int(end * 16_000)].std() for start, end in spans]
    assert len(breaths) > 8
    assert min(breaths) > 1e-4  # three steps of 16-bit sound


def test_a_cache_gives_the_same_speech(tmp_path):
    fresh = sample_utterance(4, "train", 2.0, engines=ENGINE)
    for _ in range(2):
        stored = sample_utterance(4, "train", 2.0, engines=ENGINE, cache_dir=tmp_path)
        np.testing.assert_allclose(stored[0], fresh[0], atol=2e-3)
        np.testing.assert_allclose(stored[2], fresh[2], atol=2e-2)
    assert list(tmp_path.rglob("*.npz")) and not list(tmp_path.rglob("*.tmp"))


def test_unknown_split():
    with pytest.raises(ValueError, match="split"):
        sample_utterance(0, "test")
