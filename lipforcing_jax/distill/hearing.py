"""Training loss of nano's audio encoder: the mouth and the phone that belong to a sound, in whatever voice."""

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from lipforcing_jax.distill.other_voice import other_voice
from lipforcing_jax.models.audio import LogMelEncoder, log_mel, surrounded

PARAM_WEIGHTS = (1.0, 3.0, 1.0, 1.0, 0.5, 0.5)
"""Jaw, opening, width, rounding, teeth, tongue: the gap between the lips is what people look at."""


def correlation(x: Float[Array, "b t"], y: Float[Array, "b t"]) -> Float[Array, " b"]:
    """Pearson correlation along time; 0 for constant series."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    return (x * y).sum(axis=1) / jnp.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1) + 1e-6)


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
    former: LogMelEncoder | None = None,
    code_weight: float = 0.0,
):
    """Weighted squared error of the mouth and of its motion, plus cross-entropy of the phone.

    With `former`, an earlier state of the encoder, also the squared distance of its code, by `code_weight`.
    """
    model: Listener = nnx.merge(graphdef, params)
    cfg = model.encoder.cfg
    mel = other_voice(log_mel(surrounded(cfg, audio), cfg), key)
    features = model.encoder.hear(mel)[:, 1:-1]
    guess = features[..., -mouth.shape[-1] :]
    weights = jnp.asarray(PARAM_WEIGHTS)
    still = jnp.mean(weights * (guess - mouth) ** 2)
    moving = jnp.mean(weights * (jnp.diff(guess, axis=1) - jnp.diff(mouth, axis=1)) ** 2)
    code = features[..., : -mouth.shape[-1]]
    phone = optax.softmax_cross_entropy_with_integer_labels(model.phones(code), phones).mean()
    metrics = {"opening_correlation": correlation(guess[..., 1], mouth[..., 1]).mean(), "phone": phone}
    total = still + moving + phone_weight * phone
    if former is not None:
        metrics["code_moved"] = jnp.mean((code - former.hear(mel)[:, 1:-1, : code.shape[-1]]) ** 2)
        total += code_weight * metrics["code_moved"]
    return total, metrics
