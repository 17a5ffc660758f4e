"""The autoencoder's start: the network computes principal components exactly."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.media.mouth_mask import LIPS
from lipforcing_jax.models import presets
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training.principal import blocks_of, cell_weights, components, start_at_components

CFG = presets.by_name("nano").tiny_vae


@pytest.fixture(scope="module")
def clips():
    """Smooth random pictures that drift."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 1, (24, 6, 2)) * 0.15
    y, x = np.mgrid[:32, :32]
    t = np.arange(4)[:, None, None]
    tone = [sum(np.sin(a * (x + t) + b * y + k) for k, (a, b) in enumerate(w)) for w in waves]
    grey = 0.5 + 0.06 * np.stack(tone)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)


def test_latents_are_the_whitened_components(clips):
    vae = start_at_components(TinyVAE(CFG, rngs=nnx.Rngs(0)), clips)
    blocks = blocks_of(clips, CFG.patch_size)
    mean, basis, deviation, _ = components(blocks, np.ones(len(blocks)), CFG.latent_channels, CFG.encoder_stem)
    blocks = blocks.reshape(-1, basis.shape[0] * basis.shape[1])
    expected = (blocks - mean) @ basis.reshape(len(mean), -1) / deviation
    latents = np.asarray(vae.encode(jnp.asarray(clips))[0]).reshape(-1, CFG.latent_channels)
    # The first components; the last ones of such smooth pictures are rounding divided by nearly nothing.
    np.testing.assert_allclose(latents[:, :4], expected[:, :4], atol=2e-2)


def test_decoder_reconstructs_through_its_rectifiers(clips):
    vae = start_at_components(TinyVAE(CFG, rngs=nnx.Rngs(0)), clips)
    decoded, _ = vae.decode(vae.encode(jnp.asarray(clips))[0])
    error = np.mean((np.asarray(decoded) - clips) ** 2)
    assert -10 * np.log10(error) > 30, "only the tanh may distort"


def test_lips_are_in_the_middle_of_the_lower_half():
    weights = cell_weights(16, 20.0)
    lips = weights == 20.0
    assert ((weights == 1.0) | lips).all()
    np.testing.assert_array_equal(lips, lips[:, ::-1])
    assert not lips[:8].any() and 0.03 < lips.mean() < 0.1
    assert (cell_weights(16, 1.0) == 1.0).all()


def test_a_block_that_weighs_more_comes_back_better():
    """Two kinds of blocks vary alike in directions of their own, and there is room for half of them."""
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], 500)
    blocks = np.zeros((1000, 4, 12))
    blocks.reshape(1000, 2, 24)[np.arange(1000), kinds] = rng.normal(size=(1000, 24))
    flat = blocks.reshape(1000, -1)

    def errors(weights):
        mean, basis, _, _ = components(blocks, weights, 24, 12)
        basis = basis.reshape(-1, 24)
        lost = flat - mean - (flat - mean) @ basis @ basis.T
        return [np.mean(lost[kinds == kind] ** 2) for kind in (0, 1)]

    first, second = errors(np.where(kinds == 0, 20.0, 1.0))
    assert first < 0.05 * second
    first, second = errors(np.ones(1000))
    assert 0.5 < first / second < 2


def test_the_mouth_of_a_picture_weighs_more(clips):
    """Detail of its own where lips are comes back better than without weights."""
    rng = np.random.default_rng(1)
    top, bottom, left, right = (round(32 * share) for share in LIPS)
    faces = clips.copy()
    faces[:, :, top:bottom, left:right] += 0.1 * rng.normal(size=(24, 4, bottom - top, right - left, 1))
    lost = []
    for weight in (1.0, 100.0):
        vae = start_at_components(TinyVAE(CFG, rngs=nnx.Rngs(0)), faces, weight)
        error = (np.asarray(vae.decode(vae.encode(jnp.asarray(faces))[0])[0]) - faces) ** 2
        lips = np.repeat(np.repeat(cell_weights(4, 2.0) == 2.0, 8, 0), 8, 1)
        lost.append(error[:, :, lips].mean())
    assert lost[1] < 0.8 * lost[0]
