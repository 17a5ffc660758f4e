"""Training loss of the tiny video autoencoder's decoder."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.models.tiny_vae import TinyDecoder, TinyEncoder


def halve(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Mean of every 2x2 cell."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def pyramid_error(x: Float[Array, "n h w c"], y: Float[Array, "n h w c"], levels: int = 3) -> Float[Array, ""]:
    """Squared differences, and those of every level of a Laplacian pyramid, so that fine edges count too.

    Squared, since what lips do is small: absolute differences settle on the median, which moves less than they do.
    """
    total = jnp.mean((x - y) ** 2)
    for _ in range(levels):
        low_x, low_y = halve(x), halve(y)
        up = lambda a: jnp.repeat(jnp.repeat(a, 2, axis=1), 2, axis=2)  # noqa: E731
        total += jnp.mean(((x - up(low_x)) - (y - up(low_y))) ** 2)
        x, y = low_x, low_y
    return total + jnp.mean((x - y) ** 2)


def loss(
    graphdef,
    params,
    encoder: TinyEncoder,
    frames: Float[Array, "b t h w 3"],
    key: Array,
    noise: float,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Reconstruction of `frames` (t a multiple of four, in [0, 1]) by a decoder from a fixed encoder's latents.

    `noise` is the largest standard deviation added to the latents, so that the decoder forgives a sampler's small
    errors.
    """
    decoder: TinyDecoder = nnx.merge(graphdef, params)
    key_level, key_noise = jax.random.split(key)
    latents, _ = encoder(frames, encoder.memory(frames.shape[0], *frames.shape[2:4]))
    level = noise * jax.random.uniform(key_level, (latents.shape[0], 1, 1, 1, 1))
    noisy = latents + level * jax.random.normal(key_noise, latents.shape)
    decoded, _ = decoder(noisy, decoder.memory(latents.shape[0], *latents.shape[2:4]))
    flat = lambda a: a.reshape(-1, *a.shape[2:])  # noqa: E731
    error = jnp.mean((jnp.clip(decoded, 0, 1) - frames) ** 2)
    return pyramid_error(flat(decoded), flat(frames)), {"psnr": -10 * jnp.log10(error)}
