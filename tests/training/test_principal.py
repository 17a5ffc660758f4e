"""The autoencoder's start: the network computes principal components exactly."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lipforcing_jax.models import presets
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.training.principal import blocks_of, components, start_at_components

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
    mean, basis, deviation, _ = components(blocks_of(clips, CFG.patch_size), CFG.latent_channels, CFG.encoder_stem)
    blocks = blocks_of(clips, CFG.patch_size).reshape(-1, basis.shape[0] * basis.shape[1])
    expected = (blocks - mean) @ basis.reshape(len(mean), -1) / deviation
    latents = np.asarray(vae.encode(jnp.asarray(clips))[0]).reshape(-1, CFG.latent_channels)
    # The first components; the last ones of such smooth pictures are rounding divided by nearly nothing.
    np.testing.assert_allclose(latents[:, :4], expected[:, :4], atol=2e-2)


def test_decoder_reconstructs_through_its_rectifiers(clips):
    vae = start_at_components(TinyVAE(CFG, rngs=nnx.Rngs(0)), clips)
    decoded, _ = vae.decode(vae.encode(jnp.asarray(clips))[0])
    error = np.mean((np.asarray(decoded) - clips) ** 2)
    assert -10 * np.log10(error) > 30, "only the tanh may distort"
