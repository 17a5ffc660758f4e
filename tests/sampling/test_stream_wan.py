"""The step with the release's parts, narrow: the same as the whole clip taken apart (spec inference 1.4)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import presets, wan_vae
from lipforcing_jax.models.conditioning import group_audio
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig, WanVAEConfig
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.sampling import causal, stream
from lipforcing_jax.sampling.codec import WanCodec
from lipforcing_jax.sampling.plan import LEAD

SIZE, CELLS, CHUNKS, AUDIO = 32, 4, 3, 6
FRAMES = 12 * CHUNKS - LEAD
PRESET = replace(
    presets.by_name("14b"),
    face_size=SIZE,
    dit=DiTConfig(24, 2, 32, 4, text_dim=8, text_len=4, audio_dim=AUDIO, audio_hidden=8, freq_dim=16),
    wan_vae=WanVAEConfig(dim=8, num_res_blocks=1),
)


@pytest.fixture(scope="module")
def networks() -> stream.Networks:
    dit = drawn_network(lambda: DiT(PRESET.dit, rngs=nnx.Rngs(0)))
    codec = WanCodec(drawn_network(lambda: WanVAE(PRESET.wan_vae, rngs=nnx.Rngs(0)), seed=1))
    return stream.Networks(dit, codec, None, jax.random.normal(jax.random.key(1), (1, 4, 8)))


def test_the_stream_equals_the_clip_taken_apart(networks):
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.integers(0, 256, (1, FRAMES, SIZE, SIZE, 3)), jnp.uint8)
    features = jnp.asarray(rng.normal(size=(1, FRAMES, AUDIO)), jnp.float32)
    pixel, cells = jnp.ones((SIZE, SIZE)).at[16:].set(0.0), jnp.ones((CELLS, CELLS)).at[2:].set(0.0)
    key, text = jax.random.key(5), stream.constant_text(networks)

    def in_chunks(x):
        x = jnp.concatenate([jnp.repeat(x[:, :1], LEAD, axis=1), x], axis=1)
        return x.reshape(1, CHUNKS, 12, *x.shape[2:]).swapaxes(0, 1)

    given = stream.Chunk(in_chunks(frames), in_chunks(features))
    run = jax.jit(stream.run, static_argnums=1)
    masks = stream.Masks(pixel, cells)
    _, streamed = run(networks, PRESET, masks, text, stream.start(networks, PRESET), given, key)
    streamed = np.asarray(streamed).reshape(-1, SIZE, SIZE, 3)[LEAD:]

    vae, video = networks.codec.vae, 2 * frames.astype(jnp.float32) / 255 - 1
    encode, decode = jax.jit(wan_vae.encode_clip), jax.jit(wan_vae.decode_clip)
    seen, masked = encode(vae, video), encode(vae, video * pixel[None, None, :, :, None])
    audio = group_audio(features)
    state = causal.start(networks.dit, PRESET.window, 1, CELLS, CELLS)
    step, latents = jax.jit(causal.step, static_argnums=(2, 3)), []
    for k in range(CHUNKS):
        part = slice(3 * k, 3 * k + 3)
        told = causal.ChunkCondition(seen[:, :1], masked[:, part], seen[:, part], audio[:, part])
        noise = causal.chunk_noise(key, jnp.asarray(k), (1, 3, CELLS, CELLS, 16), 2)
        state, predictions = step(networks.dit, text, PRESET.window, PRESET.t_list, cells, state, told, noise)
        latents.append(predictions[-1])
    whole = 0.5 + 0.5 * decode(vae, jnp.concatenate(latents, axis=1))
    assert np.std(whole) > 0.01
    np.testing.assert_allclose(streamed, np.clip(whole[0], 0, 1), atol=1e-4)


def test_half_precision_runs_through_a_scan(networks):
    """Every value that a clip carries keeps its kind of numbers from chunk to chunk."""
    rough = stream.Networks(
        drawn_network(lambda: DiT(PRESET.dit, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))),
        WanCodec(drawn_network(lambda: WanVAE(PRESET.wan_vae, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))),
        None, networks.text,
    )  # fmt: skip
    frames = jnp.full((2, 1, 12, SIZE, SIZE, 3), 90, jnp.uint8)
    given = stream.Chunk(frames, jnp.zeros((2, 1, 12, AUDIO)))
    masks = stream.Masks(jnp.ones((SIZE, SIZE)), jnp.ones((CELLS, CELLS)))
    state, drawn = jax.jit(stream.run, static_argnums=1)(
        rough, PRESET, masks, stream.constant_text(rough), stream.start(rough, PRESET), given, jax.random.key(0)
    )
    assert state.sampler.cache.k.dtype == jnp.bfloat16 and drawn.dtype == jnp.float32
    assert np.isfinite(drawn).all()
