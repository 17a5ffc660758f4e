from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cartoon_face import background, draw_face

from lipforcing_jax.data import encoding
from lipforcing_jax.data.encoding import PROMPT, reference_start, sample_of
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.mouth_mask import pixel_mask
from lipforcing_jax.models import presets
from lipforcing_jax.sampling import stream
from lipforcing_jax.weights import samples
from lipforcing_jax.weights.convert import Inputs, convert

NANO = presets.by_name("nano")
SCENE = background(128, 128)
FRAMES = np.stack([draw_face(SCENE, (64 + i % 5, 60), 0.55, 3 + 5 * (i % 3)) for i in range(21)])
SOUND = (0.1 * np.random.default_rng(0).standard_normal(21 * 640)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return encoding.load(NANO)


def test_a_whole_clip_is_seen_as_the_stream_sees_it(encoder):
    """Chunk by chunk, as at inference, comes the same (21 frames are 2 chunks of 3 latent frames)."""
    mask, memory = jnp.asarray(pixel_mask(128), jnp.float32), encoder.codec.encoder_memory(2, 128)
    led = np.concatenate([np.repeat(FRAMES[:1], 3, axis=0), FRAMES])[None]
    chunks = []
    for first in (True, False):
        part = jnp.asarray(led[:, :12] if first else led[:, 12:])
        seen, masked, memory = jax.jit(stream.look)(encoder.codec, part, mask, memory, jnp.asarray(first))
        chunks.append((seen, masked))
    for ours, streamed in zip(encoder.look(FRAMES[None]), zip(*chunks, strict=True), strict=True):
        assert ours.shape == (1, 6, 16, 16, 16) and ours.dtype == np.float16
        np.testing.assert_allclose(ours, np.concatenate(streamed, axis=1), atol=5e-3)
    np.testing.assert_array_equal(encoder.see(FRAMES[None]), encoder.look(FRAMES[None])[0])


def test_the_mouth_cannot_be_read_from_masked_latents(encoder):
    other = np.where(pixel_mask(128)[None, :, :, None] == 0, 255 - FRAMES, FRAMES)
    seen, masked = encoder.look(np.stack([FRAMES, other]))
    np.testing.assert_array_equal(masked[0], masked[1])
    assert np.abs(seen[0] - seen[1]).max() > 0.5


def test_the_sound_is_heard_to_its_end(encoder):
    whole, cut = encoder.hear(SOUND, 9), encoder.hear(SOUND[: 9 * 640], 9)
    assert whole.shape == (9, 64) and whole.dtype == np.float16
    np.testing.assert_allclose(whole[:2], cut[:2], atol=2e-3)
    assert np.abs(whole[-1] - cut[-1]).max() > 0.01, "the ear looks ahead"
    np.testing.assert_array_equal(encoder.hear(SOUND, 21)[:9], whole)


@pytest.mark.parametrize("frames, start", [(81, 0), (82, 1), (100, 19), (161, 80), (162, 81), (500, 81)])
def test_where_the_reference_begins(frames, start):
    assert reference_start(frames, 81) == start


def test_target_and_reference_are_two_segments_of_a_clip(encoder):
    sample = sample_of(encoder, FRAMES, SOUND, PROMPT, 3, "clip")
    seen, masked = encoder.look(FRAMES[None, :9])
    np.testing.assert_array_equal(sample["target"], seen[0])
    np.testing.assert_array_equal(sample["first"], seen[0, :1])
    np.testing.assert_array_equal(sample["masked"], masked[0])
    np.testing.assert_array_equal(sample["reference"], encoder.see(FRAMES[None, 9:18])[0])
    np.testing.assert_array_equal(sample["audio"], encoder.hear(SOUND, 9))
    np.testing.assert_allclose(sample["waveform"] / 32767, SOUND[: 9 * 640], atol=2e-5)
    encoder.facts(3).features().encode_example(sample)


def test_clips_that_would_teach_copying_are_refused_by_name(encoder):
    for frames in (FRAMES[:9], FRAMES[:5], np.repeat(FRAMES[:1], 18, axis=0)):
        with pytest.raises(UserError, match="reference of clip_7 would equal its target"):
            sample_of(encoder, frames, SOUND, PROMPT, 3, "clip_7")


def test_other_faults_of_a_clip(encoder):
    with pytest.raises(UserError, match="sound of clip ends before its picture"):
        sample_of(encoder, FRAMES, SOUND[:5000], PROMPT, 3, "clip")
    with pytest.raises(UserError, match="no embedding of the prompt 'a cat' of clip, only of 'a person talking'"):
        sample_of(encoder, FRAMES, SOUND, "a cat", 3, "clip")


def test_a_converted_preset_encodes_without_its_student(tmp_path):
    files = samples.write_release(tmp_path / "files", samples.small())
    convert(Inputs(vae=files.vae, wav2vec2=files.wav2vec2, text=files.text), tmp_path / "weights")
    encoder = encoding.load(replace(presets.by_name("14b"), face_size=64), tmp_path / "weights")
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 64, 64, 3), np.uint8)
    seen, masked = encoder.look(frames)
    facts = encoder.facts(2)
    assert seen.shape == masked.shape == (1, 2, 8, 8, facts.channels) and np.isfinite(seen).all()
    heard = encoder.hear(SOUND, 5)
    assert heard.shape == (5, facts.audio_width) and heard.std() > 0
    assert encoder.weights == encoding.weights_hash(presets.by_name("14b"), tmp_path / "weights")
    with pytest.raises(UserError, match="no bundled weights"):
        encoding.load(presets.by_name("14b"))
