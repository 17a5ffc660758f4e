"""The tiny video autoencoder: streams equal whole clips, frames stay in order, nothing looks ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_weights import drawn_network
from flax import nnx

from lipforcing_jax.models import presets
from lipforcing_jax.models.presets import TinyVAEConfig
from lipforcing_jax.models.tiny_vae import TimeGrow, TinyVAE, depth_to_space, lead_in, space_to_depth

SMALL = TinyVAEConfig(
    encoder_stem=8, encoder_widths=(8, 8, 8), decoder_widths=(12, 8, 8), decoder_tail=8, encoder_blocks=2,
    decoder_blocks=2,
)  # fmt: skip
NANO = presets.by_name("nano").tiny_vae
encode, decode = jax.jit(TinyVAE.encode), jax.jit(TinyVAE.decode)


def made(cfg: TinyVAEConfig) -> TinyVAE:
    return drawn_network(lambda: TinyVAE(cfg, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module", params=["taehv", "nano"])
def vae(request):
    return made({"taehv": SMALL, "nano": NANO}[request.param])


@pytest.fixture(scope="module")
def frames():
    return jnp.asarray(np.random.default_rng(0).random((1, 24, 32, 32, 3)), jnp.float32)


def test_encoding_in_pieces_equals_the_whole_clip(vae, frames):
    whole, _ = encode(vae, frames)
    memory, pieces = None, []
    for i in range(0, 24, 12):
        latents, memory = encode(vae, frames[:, i : i + 12], memory)
        pieces.append(latents)
    assert whole.shape == (1, 6, 4, 4, 16)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-5)


def test_decoding_one_latent_at_a_time_equals_the_whole_clip(vae):
    latents = jax.random.normal(jax.random.key(1), (1, 5, 4, 4, 16))
    whole, _ = decode(vae, latents)
    memory, pieces = None, []
    for i in range(5):
        part, memory = decode(vae, latents[:, i : i + 1], memory)
        assert part.shape[1] == 4
        pieces.append(part)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), whole, atol=1e-5)


def test_later_frames_do_not_change_earlier_latents(vae, frames):
    before, _ = encode(vae, frames)
    after, _ = encode(vae, frames.at[:, 12:].set(0.0))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


def test_memory_reaches_the_next_latent():
    vae = made(SMALL)
    latents = jax.random.normal(jax.random.key(1), (1, 3, 4, 4, 16))
    changed, _ = decode(vae, latents.at[:, 0].add(1.0))
    plain, _ = decode(vae, latents)
    assert np.abs(changed[:, 4:8] - plain[:, 4:8]).max() > 1e-5


def test_released_size_has_the_stated_number_of_parameters():
    """Spec inference 6.7: 1 470 928 in the encoder, 9 844 611 in the decoder."""
    vae = nnx.eval_shape(lambda: TinyVAE(TinyVAEConfig(), rngs=nnx.Rngs(0)))
    count = lambda part: sum(np.prod(p.shape) for p in jax.tree.leaves(nnx.state(part)))  # noqa: E731
    assert (count(vae.encoder), count(vae.decoder)) == (1_470_928, 9_844_611)


def test_time_grow_keeps_the_order_of_channel_groups():
    grow = TimeGrow(1, 2, rngs=nnx.Rngs(0))
    grow.conv.kernel[...] = jnp.asarray([[[[1.0, 10.0]]]])
    frames = grow(jnp.asarray([1.0, 2.0]).reshape(1, 2, 1, 1, 1)).ravel()
    np.testing.assert_array_equal(frames, [1, 10, 2, 20])


def test_space_to_depth_is_channel_major_and_invertible(frames):
    folded = space_to_depth(frames, 4)
    assert folded.shape == (1, 24, 8, 8, 48)
    np.testing.assert_array_equal(folded[0, 0, 0, 0, :16].reshape(4, 4), frames[0, 0, :4, :4, 0])
    np.testing.assert_array_equal(depth_to_space(folded, 4), frames)


def test_lead_in_repeats_the_first_frame(frames):
    led = lead_in(frames[:, :9])
    assert led.shape[1] == 12
    np.testing.assert_array_equal(led[:, 2], frames[:, 0])
