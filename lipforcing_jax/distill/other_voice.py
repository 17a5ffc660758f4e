"""Other voices for nano's ear to learn from.

Recorded voices are few, so every clip is heard in a voice of its own: what a speaker's throat, larynx and microphone do
to a spectrum, and what never moves the lips. Everything happens on log energies, inside the jitted step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

WARP, TILT, RIPPLES = 3.0, 0.15, 6
"""Bands by which formants move, spread of each cosine of the gain over the bands, and their number."""
HIDDEN_BANDS, HIDDEN_ROWS = 10, 8
"""The most of both that go missing."""


def warped(mel: Float[Array, "b m bands"], key: Array) -> Float[Array, "b m bands"]:
    """Bands shifted and bent: another length and shape of the throat (vocal tract length perturbation)."""
    count = mel.shape[-1]
    shift, bend = jax.random.uniform(key, (2, mel.shape[0], 1), minval=-WARP, maxval=WARP)
    place = jnp.arange(count) / (count - 1)
    wanted = jnp.arange(count) + (shift * place + bend * 4 * place * (1 - place))
    wanted = jnp.clip(wanted, 0, count - 1)
    low = jnp.clip(wanted.astype(int), 0, count - 2)
    above = (wanted - low)[:, None]
    take = lambda i: jnp.take_along_axis(mel, jnp.broadcast_to(i[:, None], mel.shape), axis=2)  # noqa: E731
    return (1 - above) * take(low) + above * take(low + 1)


def hidden(key: Array, batch: int, length: int, most: int) -> Float[Array, "b length"]:
    """0 in one random stretch of at most `most` and 1 elsewhere."""
    key_size, key_place = jax.random.split(key)
    size = jax.random.uniform(key_size, (batch, 1), maxval=most)
    start = jax.random.uniform(key_place, (batch, 1)) * (length - size)
    place = jnp.arange(length)
    return 1.0 - ((place >= start) & (place < start + size))


def other_voice(mel: Float[Array, "b m bands"], key: Array) -> Float[Array, "b m bands"]:
    """The same speech by another speaker: formants moved, harmonics weaker, another spectral tilt, parts missing.

    Args:
      mel: log energies (`models.audio.log_mel`). key: draws one speaker for each clip.
    """
    batch, rows, bands = mel.shape
    keys = jax.random.split(key, 5)
    mel = warped(mel, keys[0])
    wide = jnp.pad(mel, ((0, 0), (0, 0), (1, 1)), mode="edge")
    smooth = 0.25 * wide[..., :-2] + 0.5 * mel + 0.25 * wide[..., 2:]
    mel = mel + jax.random.uniform(keys[1], (batch, 1, 1)) * (smooth - mel)
    waves = jnp.cos(jnp.pi * jnp.arange(RIPPLES)[:, None] * (jnp.arange(bands) + 0.5) / bands)
    mel = mel + (TILT * jax.random.normal(keys[2], (batch, RIPPLES)) @ waves)[:, None]
    kept = hidden(keys[3], batch, bands, HIDDEN_BANDS)[:, None] * hidden(keys[4], batch, rows, HIDDEN_ROWS)[..., None]
    return kept * mel
