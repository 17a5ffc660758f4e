"""The autoencoders behind the stream's signature: chunk by chunk equals the whole clip."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import wan_vae
from lipforcing_jax.models.presets import TinyVAEConfig, WanVAEConfig
from lipforcing_jax.models.tiny_vae import TinyVAE, lead_in
from lipforcing_jax.models.wan_vae import WanVAE
from lipforcing_jax.sampling.codec import PairedCodec, TinyCodec, WanCodec
from lipforcing_jax.sampling.plan import LEAD

SIZE, CELLS, CHUNKS, PER = 16, 2, 3, 12
TINY = TinyVAEConfig(encoder_stem=8, encoder_widths=(8,) * 3, decoder_widths=(8,) * 3, decoder_tail=8)


@functools.cache
def wan(dtype=None) -> WanCodec:
    return WanCodec(drawn_network(lambda: WanVAE(WanVAEConfig(dim=8, num_res_blocks=1), dtype=dtype, rngs=nnx.Rngs(0))))


@functools.cache
def tiny(dtype=None) -> TinyCodec:
    return TinyCodec(drawn_network(lambda: TinyVAE(TINY, dtype=dtype, rngs=nnx.Rngs(0)), seed=1))


@pytest.fixture(scope="module")
def pixels() -> jax.Array:
    """Two clips in [0, 1] with their lead-in."""
    drawn = np.random.default_rng(0).uniform(size=(2, CHUNKS * PER - LEAD, SIZE, SIZE, 3))
    return lead_in(jnp.asarray(drawn, jnp.float32))


@pytest.fixture(scope="module")
def latents() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (2, 3 * CHUNKS, CELLS, CELLS, 16))


def in_chunks(code, memory, x: jax.Array) -> jax.Array:
    """Codes `x` chunk by chunk in one scan, as a clip does."""
    parts = x.reshape(x.shape[0], CHUNKS, -1, *x.shape[2:]).swapaxes(0, 1)

    def one(memory, given):
        part, index = given
        coded, memory = code(part, memory, index == 0)
        return memory, coded

    coded = jax.jit(lambda memory: jax.lax.scan(one, memory, (parts, jnp.arange(CHUNKS)))[1])(memory)
    return coded.swapaxes(0, 1).reshape(x.shape[0], -1, *coded.shape[3:])


def test_wan_latents_of_chunks_are_those_of_the_clip(pixels):
    codec = wan()
    streamed = in_chunks(codec.encode, codec.encoder_memory(2, SIZE), pixels)
    whole = jax.jit(wan_vae.encode_clip)(codec.vae, 2 * pixels[:, LEAD:] - 1)
    np.testing.assert_allclose(streamed, whole, atol=2e-5)


def test_wan_pictures_of_chunks_are_those_of_the_clip(latents):
    codec = wan()
    streamed = in_chunks(codec.decode, codec.decoder_memory(2, CELLS), latents)
    whole = jnp.clip(0.5 + 0.5 * jax.jit(wan_vae.decode_clip)(codec.vae, latents), 0, 1)
    np.testing.assert_allclose(streamed[:, LEAD:], whole, atol=2e-5)
    np.testing.assert_array_equal(streamed[:, :LEAD], np.repeat(streamed[:, LEAD : LEAD + 1], LEAD, axis=1))


def test_one_sees_and_another_draws(pixels, latents):
    pair = PairedCodec(wan(), tiny())
    seen = in_chunks(pair.encode, pair.encoder_memory(2, SIZE), pixels)
    drawn = in_chunks(pair.decode, pair.decoder_memory(2, CELLS), latents)
    np.testing.assert_array_equal(seen, in_chunks(wan().encode, wan().encoder_memory(2, SIZE), pixels))
    np.testing.assert_allclose(drawn, tiny().vae.decode(latents)[0], atol=1e-5)


@pytest.mark.parametrize("make", [wan, tiny])
def test_half_precision_stays_inside(make, pixels, latents):
    """Memories keep the autoencoder's precision over a scan; what goes in and out is float32."""
    rough, fine = make(jnp.bfloat16), make()
    memories = (*rough.encoder_memory(2, SIZE), *rough.decoder_memory(2, CELLS))
    assert {memory.dtype for memory in memories} == {jnp.dtype(jnp.bfloat16)}
    for code, memory, x, allowed in (
        (lambda c: c.encode, lambda c: c.encoder_memory(2, SIZE), pixels, 0.1),
        (lambda c: c.decode, lambda c: c.decoder_memory(2, CELLS), latents, 0.1),
    ):
        ours, exact = (in_chunks(code(c), memory(c), x) for c in (rough, fine))
        assert ours.dtype == jnp.float32
        assert 0 < np.abs(ours - exact).max() < allowed * max(1, np.abs(exact).max())
