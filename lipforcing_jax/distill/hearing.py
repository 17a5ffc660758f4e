"""Training loss of nano's audio encoder: the mouth and the phone that belong to a sound.

Recorded voices are few, so every clip is heard in a voice of its own (`other_voice`): what a speaker's throat, larynx
and microphone do to a spectrum, and what never moves the lips.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from lipforcing_jax.models.audio import LogMelEncoder, log_mel, surrounded

PARAM_WEIGHTS = (1.0, 3.0, 1.0, 1.0, 0.5, 0.5)
"""Jaw, opening, width, rounding, teeth, tongue: the gap between the lips is what people look at."""


def correlation(x: Float[Array, "b t"], y: Float[Array, "b t"]) -> Float[Array, " b"]:
    """Pearson correlation along time; 0 for constant series."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    return (x * y).sum(axis=1) / jnp.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1) + 1e-6)


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
    """The same speech by another speaker: formants moved, harmonics weaker, another spectral tilt, parts missing."""
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


class Listener(nnx.Module):
    """The encoder with a phone classifier on its code, used in training only."""

    def __init__(self, encoder: LogMelEncoder, phones: int, *, rngs: nnx.Rngs):
        self.encoder = encoder
        self.phones = nnx.Linear(encoder.cfg.features - encoder.cfg.mouth_params, phones, rngs=rngs)


def loss(
    graphdef,
    params,
    audio: Float[Array, "b n"],
    mouth: Float[Array, "b t 6"],
    phones: Int[Array, "b t"],
    key: Array,
    phone_weight: float,
):
    """Weighted squared error of the mouth and of its motion, plus cross-entropy of the phone."""
    model: Listener = nnx.merge(graphdef, params)
    cfg = model.encoder.cfg
    features = model.encoder.hear(other_voice(log_mel(surrounded(cfg, audio), cfg), key))[:, 1:-1]
    guess = features[..., -mouth.shape[-1] :]
    weights = jnp.asarray(PARAM_WEIGHTS)
    still = jnp.mean(weights * (guess - mouth) ** 2)
    moving = jnp.mean(weights * (jnp.diff(guess, axis=1) - jnp.diff(mouth, axis=1)) ** 2)
    code = features[..., : -mouth.shape[-1]]
    phone = optax.softmax_cross_entropy_with_integer_labels(model.phones(code), phones).mean()
    metrics = {"opening_correlation": correlation(guess[..., 1], mouth[..., 1]).mean(), "phone": phone}
    return still + moving + phone_weight * phone, metrics
