"""What a network is shown of the source's mouth: its mean over the last chunks, and nothing of its movement."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipforcing_jax.media.mouth_mask import latent_mask, lips_cells
from lipforcing_jax.models import presets
from lipforcing_jax.sampling import steady_mouth, stream
from lipforcing_jax.sampling.steady_mouth import MEMORY, hold, remember, show

NANO = presets.by_name("nano")
SIZE = NANO.latent_size
KEPT = ~lips_cells(SIZE)


def source(seed: int = 0, chunks: int = 1):
    """Latents of a source, chunk by chunk."""
    return jax.random.normal(jax.random.key(seed), (chunks, 1, 3, SIZE, SIZE, 16))


@pytest.mark.parametrize("size", [16, 64])
def test_lips_are_a_block_inside_what_is_drawn_anew(size):
    lips = lips_cells(size)
    assert not (lips & (latent_mask(size) == 1)).any()
    assert lips.sum() == lips.any(axis=0).sum() * lips.any(axis=1).sum() > 0
    np.testing.assert_array_equal(lips, lips[:, ::-1])


def test_the_mean_is_that_of_all_chunks_and_then_old_ones_fade():
    chunks = source(chunks=MEMORY + 3)
    means = np.asarray(chunks).mean(axis=2)
    kept = jnp.full((1, 1, SIZE, SIZE, 16), jnp.nan)  # what is there before the first chunk is of no matter
    expected = means[0]
    for k, chunk in enumerate(chunks):
        kept = remember(kept, chunk, jnp.asarray(k))
        expected = means[: k + 1].mean(axis=0) if k < MEMORY else expected + (means[k] - expected) / MEMORY
        np.testing.assert_allclose(kept[:, 0], expected, atol=1e-6)


def test_only_lips_are_held():
    seen, mean = source()[0], source(1)[0][:, :1]
    shown = np.asarray(show(seen, mean))
    np.testing.assert_array_equal(shown[:, :, KEPT], seen[:, :, KEPT])
    np.testing.assert_array_equal(shown[:, :, ~KEPT], np.broadcast_to(mean, seen.shape)[:, :, ~KEPT])


@pytest.mark.parametrize("frames", [12, 11])
def test_a_whole_clip_is_shown_as_its_chunks_are(frames):
    clip = source(chunks=4).swapaxes(0, 1).reshape(1, 12, SIZE, SIZE, 16)[:, :frames]
    mean, shown = jnp.zeros((1, 1, SIZE, SIZE, 16)), []
    for k in range(4):
        mean = remember(mean, clip[:, 3 * k : 3 * k + 3], jnp.asarray(k))
        shown.append(show(clip[:, 3 * k : 3 * k + 3], mean))
    np.testing.assert_array_equal(hold(clip, 3), jnp.concatenate(shown, axis=1))
    # No later chunk changes what an earlier one is shown.
    np.testing.assert_array_equal(hold(clip[:, :6], 3), hold(clip, 3)[:, :6])


@pytest.mark.parametrize("steady", [True, False])
def test_the_student_is_shown_what_the_preset_says(monkeypatch, steady):
    preset, given = replace(NANO, steady_mouth=steady), []
    chunks = source(chunks=2)

    def record(dit, text, window, t_list, mask, sampler, condition, noise):
        given.append(condition)
        return sampler, jnp.stack([condition.ref_sequence])

    monkeypatch.setattr(stream, "look", lambda codec, frames, mask, memory, first: (frames, frames, None))
    monkeypatch.setattr(stream, "listen", lambda ear, audio, first: audio)
    monkeypatch.setattr(stream.causal, "step", record)
    monkeypatch.setattr(stream.placement, "of_stream", lambda state: state)
    nothing, blank = SimpleNamespace(codec=None, ear=None, dit=None), jnp.zeros((1, 1, SIZE, SIZE, 16))
    state = stream.StreamState(None, None, None, blank, blank if steady else None)
    for k, chunk in enumerate(chunks):
        state = state._replace(sampler=SimpleNamespace(chunk=jnp.asarray(k)))
        state, sketch = stream.denoise(
            nothing, preset, SimpleNamespace(pixel=None, latent=None), None, state, stream.Chunk(chunk, None),
            jax.random.key(0),
        )  # fmt: skip
        np.testing.assert_array_equal(sketch.seen, chunk)  # detail is given back from the source as it is
    mean = np.asarray(chunks).mean(axis=(0, 2))[:, None]
    expected = steady_mouth.show(chunks[1], mean) if steady else chunks[1]
    np.testing.assert_allclose(given[1].ref_sequence, expected, atol=1e-6)
    np.testing.assert_array_equal(given[1].ref_latent, chunks[0][:, :1])
