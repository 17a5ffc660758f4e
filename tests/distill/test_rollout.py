"""The rollout is the sampler's, stopped early; its record is what entered the exit step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage2 as tiny

from lipforcing_jax import flow
from lipforcing_jax.distill.condition import by_chunk, join_chunks
from lipforcing_jax.distill.rollout import draw_noise
from lipforcing_jax.sampling import causal


@pytest.fixture(scope="module")
def setting():
    condition = tiny.condition()
    return *tiny.network(), condition, draw_noise(jax.random.key(3), condition.masked_video, 3, 2)


def test_the_last_exit_is_inference(setting):
    base, part, condition, noise = setting
    made, chunks = tiny.roll_out(*setting, 1), condition.chunks(3)
    model = base.join(part)
    text = model.text_keys(condition.text)
    state = causal.start(model, tiny.WINDOW, 2, tiny.CELLS, tiny.CELLS)
    step = jax.jit(lambda *given: causal.step(model, text, tiny.WINDOW, tiny.T_LIST, condition.mask, *given))
    seen = []
    for k in range(tiny.CHUNKS):
        state, predictions = step(state, jax.tree.map(lambda a, k=k: a[k], chunks), noise[k])
        np.testing.assert_allclose(made.x0[:, 3 * k : 3 * k + 3], predictions[-1], atol=2e-5)
        seen.append([int(frame) for frame in state.cache.frames if frame >= 0])
    # Window 7 with sink 1 (spec training 2.4.1): nothing, 0-2, then frame 0 and the three before the chunk.
    assert seen == [[], [0, 1, 2], [0, 3, 4, 5]]


def test_the_first_exit_starts_from_noise(setting):
    made = tiny.roll_out(*setting, 0)
    np.testing.assert_array_equal(made.exit_inputs, setting[3][:, 0])
    assert float(made.exit_level) == pytest.approx(0.999)
    assert float(tiny.roll_out(*setting, 1).exit_level) == pytest.approx(0.769)


def test_later_chunks_hear_earlier_ones(setting):
    """The first chunk's noise reaches every chunk by way of the cache, the last one's only itself."""
    *given, noise = setting
    made = tiny.roll_out(*setting, 1)
    for changed in (0, 2):
        other = tiny.roll_out(*given, noise.at[changed].multiply(-1.0), 1)
        moved = jnp.abs(other.x0 - made.x0).reshape(2, tiny.CHUNKS, -1).max(axis=(0, 2))
        np.testing.assert_array_equal(moved > 0, np.arange(tiny.CHUNKS) >= changed)


def test_noise_starts_at_0999_and_depends_on_the_chunk_alone():
    latents = jnp.zeros((2, 12, 4, 4, 4))
    draw = jax.jit(draw_noise, static_argnums=(2, 3))
    noise, shorter = draw(jax.random.key(0), latents, 3, 2), draw(jax.random.key(0), latents[:, :6], 3, 2)
    np.testing.assert_array_equal(noise[:2], shorter)
    raw = causal.chunk_noise(jax.random.key(0), jnp.asarray(1), (2, 3, 4, 4, 4), 2)
    np.testing.assert_array_equal(noise[1], raw.at[0].set(flow.initial_latents(raw[0])))


def test_chunks_come_back_together(setting):
    video = setting[2].masked_video
    np.testing.assert_array_equal(join_chunks(by_chunk(video, 3)), video)


def test_what_cannot_be_rolled_out_is_refused(setting):
    with pytest.raises(ValueError, match="exit step 2 does not exist among 2"):
        tiny.roll_out(*setting, 2)
    with pytest.raises(ValueError, match="8 latent frames do not divide into chunks of 3"):
        by_chunk(setting[2].masked_video[:, :8], 3)
