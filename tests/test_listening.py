"""What each chunk hears: whose samples and features, in which order, up to the padded end."""

import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.listening import FeatureListener, SampleListener, listener_for
from lipforcing_jax.models import presets, wav2vec2
from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.sampling import stream
from lipforcing_jax.sampling.plan import plan

EAR = Wav2Vec2Config(
    hidden_size=16, num_layers=1, num_heads=1, intermediate_size=16, conv_dim=(8,) * 7, position_taps=8,
    position_groups=4, span=20, context=6,
)  # fmt: skip
NANO, BIG = presets.by_name("nano"), presets.by_name("14b")


@pytest.fixture(scope="module")
def listener() -> FeatureListener:
    return listener_for(BIG, drawn_network(lambda: Wav2Vec2(EAR, rngs=nnx.Rngs(0))))


def noise(frames: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(frames * 640)).astype(np.float32)


def test_samples_of_a_chunk_stand_in_their_surroundings():
    before, own, after = stream.audio_window(NANO)
    listener, cut = SampleListener(NANO), plan(30)
    sound = np.arange(1, 1 + 30 * 640, dtype=np.float32)
    given = list(listener.chunks(sound, cut))
    assert len(given) == cut.chunks == 3 and {g.shape for g in given} == {listener.blank().shape}
    # Chunk 1 begins with video frame 9; chunk 0 with three frames of lead-in before the sound.
    assert given[1][0, before] == 9 * 640 + 1
    assert not given[0][0, : before + 3 * 640].any() and given[0][0, before + 3 * 640] == 1
    # After the sound comes silence.
    np.testing.assert_array_equal(given[2][0, before : before + 9 * 640], sound[21 * 640 :])
    assert not given[2][0, before + 9 * 640 :].any()


def test_a_sound_longer_than_the_plan_is_heard_ahead_of_its_end():
    before, own, after = stream.audio_window(NANO)
    sound = np.arange(1, 1 + 60 * 640, dtype=np.float32)
    *_, last = SampleListener(NANO).chunks(sound, plan(21))
    np.testing.assert_array_equal(last[0, -after:], sound[21 * 640 : 21 * 640 + after])


def test_features_of_a_short_sound_are_those_of_the_whole_file(listener):
    cut, sound = plan(19), noise(18.5)
    given = list(listener.chunks(sound, cut))
    # The reference fills the sound with silence up to the frames that the chunks produce: 21 here.
    whole = np.asarray(wav2vec2.encode(listener.model, jnp.asarray(sound), cut.generated))
    assert [g.shape for g in given] == [listener.blank().shape] * 2
    np.testing.assert_allclose(given[0][0], whole[[0, 0, 0, *range(9)]], atol=1e-5)
    np.testing.assert_allclose(given[1][0], whole[9:21], atol=1e-5)


def test_a_long_sound_is_heard_in_stretches(listener):
    """Stretches in order, none twice, the overlap of the last one left away; each as `encode_span` gives it."""
    cut, sound = plan(57), noise(57)
    given = np.concatenate([g[0] for g in listener.chunks(sound, cut)])[3:]
    prepared = wav2vec2.prepare(listener.model, jnp.asarray(sound), cut.generated)
    assert len(given) == cut.generated == 57
    for frame, start in ((0, 0), (19, 0), (20, 20), (39, 20), (40, 37), (56, 37)):
        rows = wav2vec2.encode_span(listener.model, prepared, jnp.asarray(start), EAR.span, EAR.context)
        np.testing.assert_allclose(given[frame], rows[frame - start], atol=1e-5)


def test_a_sound_that_outlasts_the_plan_counts_in_full(listener):
    """Under the reference's length rule frames are left out, but wav2vec2 still hears the whole sound."""
    sound = noise(28)
    given = list(listener.chunks(sound, plan(21)))
    whole = np.asarray(wav2vec2.encode(listener.model, jnp.asarray(sound), 28))
    assert len(given) == 2
    np.testing.assert_allclose(given[1][0], whole[9:21], atol=1e-5)
