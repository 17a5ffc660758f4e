"""The step of a clip: files and streams agree, prefixes agree, one program serves all chunks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import presets
from lipforcing_jax.sampling import stream
from lipforcing_jax.weights.networks import assemble, makers

pytestmark = pytest.mark.optimised(always=True)  # What is compiled quickly rounds otherwise in a scan than by itself.

NANO = presets.by_name("nano")
TINY = replace(
    NANO,
    face_size=64,
    dit=replace(NANO.dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4, freq_dim=16, audio_dim=16, residual=False),
    audio=replace(NANO.audio, width=16, features=16, layers=2),
)
CHUNKS, SHORT = 5, 3


@pytest.fixture(scope="module")
def setting():
    networks = assemble(TINY, **{part: drawn_network(make) for part, make in makers(TINY).items()})
    rng = np.random.default_rng(0)
    samples = sum(stream.audio_window(TINY))
    chunks = stream.Chunk(
        jnp.asarray(rng.integers(0, 255, (CHUNKS, 1, 12, 64, 64, 3)), jnp.uint8),
        jnp.asarray(rng.normal(0, 0.1, (CHUNKS, 1, samples)), jnp.float32),
    )
    masks = stream.Masks(jnp.ones((64, 64)).at[32:].set(0.0), jnp.ones((8, 8)).at[4:].set(0.0))
    return networks, masks, stream.constant_text(networks), chunks


@pytest.fixture(scope="module")
def looped(setting):
    """Frames of a loop over chunks, and how many programs it took."""
    networks, masks, text, chunks = setting
    # A function of its own: compiled programs of one function are shared, and so is their count.
    step = jax.jit(lambda *given: stream.step(*given), static_argnums=1)
    state, frames = stream.start(networks, TINY), []
    for k in range(CHUNKS):
        chunk = jax.tree.map(lambda a, k=k: a[k], chunks)
        state, drawn = step(networks, TINY, masks, text, state, chunk, jax.random.key(3))
        frames.append(np.asarray(drawn))
    return np.stack(frames), step._cache_size()


def run(setting, count, key=3):
    networks, masks, text, chunks = setting
    chunks = jax.tree.map(lambda a: a[:count], chunks)
    state = stream.start(networks, TINY)
    scan = jax.jit(stream.run, static_argnums=1)
    return np.asarray(scan(networks, TINY, masks, text, state, chunks, jax.random.key(key))[1])


def test_scan_equals_stream_bit_for_bit(setting, looped):
    np.testing.assert_array_equal(run(setting, CHUNKS), looped[0])


def test_denoised_and_then_drawn_it_is_the_same_step(setting, looped):
    """As `LipSyncer` runs it: nothing of the drawing goes back into the denoising."""
    networks, masks, text, chunks = setting
    denoise, finish = (jax.jit(part, static_argnums=1) for part in (stream.denoise, stream.finish))
    state = stream.start(networks, TINY)
    drawing, state, sketches = state.drawing, state._replace(drawing=None), []
    for k in range(CHUNKS):
        chunk = jax.tree.map(lambda a, k=k: a[k], chunks)
        state, sketch = denoise(networks, TINY, masks, text, state, chunk, jax.random.key(3))
        sketches.append(sketch)
    for sketch, expected in zip(sketches, looped[0], strict=True):
        drawing, drawn = finish(networks, TINY, drawing, sketch)
        np.testing.assert_array_equal(drawn, expected)


def test_one_program_serves_every_chunk(looped):
    assert looped[1] == 1


def test_a_shorter_clip_is_the_beginning_of_a_longer_one(setting, looped):
    np.testing.assert_array_equal(run(setting, SHORT), looped[0][:SHORT])


def test_another_seed_gives_another_clip(setting, looped):
    assert np.abs(run(setting, SHORT, key=4) - looped[0][:SHORT]).max() > 1e-3


def test_frames_are_pictures(looped):
    frames, _ = looped
    assert frames.shape == (CHUNKS, 1, 12, 64, 64, 3)
    assert frames.min() >= 0 and frames.max() <= 1 and frames.std() > 0.01


def test_lead_in_hears_the_first_frame_four_times(setting):
    networks, _, _, chunks = setting
    first = stream.listen(networks.ear, chunks.audio[0], jnp.asarray(True))
    later = stream.listen(networks.ear, chunks.audio[0], jnp.asarray(False))
    groups = np.asarray(first)[0, 0].reshape(4, -1)
    assert (groups == groups[0]).all()
    np.testing.assert_array_equal(first[:, 1:], later[:, 1:])
    assert np.abs(first[:, 0] - later[:, 0]).max() > 0


def test_mouth_pixels_do_not_reach_the_masked_latents(setting):
    networks, masks, _, chunks = setting
    memory, first = networks.codec.encoder_memory(2, 64), jnp.asarray(True)
    seen, masked, _ = stream.look(networks.codec, chunks.frames[0], masks.pixel, memory, first)
    changed = chunks.frames[0].at[:, :, 40:].set(0)
    seen_after, masked_after, _ = stream.look(networks.codec, changed, masks.pixel, memory, first)
    np.testing.assert_array_equal(masked, masked_after)
    assert np.abs(seen - seen_after).max() > 1e-3


def test_networks_are_rebuilt_from_their_abstract_shape():
    abstract = nnx.eval_shape(makers(TINY)["dit"])
    assert {type(x) for x in jax.tree.leaves(nnx.state(abstract, nnx.Param))} == {jax.ShapeDtypeStruct}
