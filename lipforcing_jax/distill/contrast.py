"""Training loss of SyncNet: a mouth is nearer to its own sound than to any other.

Neither paper nor release trains SyncNet; this is for the preset that makes its own. The distances are those that Sync-C
and Sync-D are made of (spec training 3.4), between embeddings that are not normalised, so their differences are what a
softmax calls logits: a Sync-C of 2 says that the true shift is e^2 times as likely as the median one.

The network's norms hold statistics (`syncnet.FrozenNorm`). While it is trained they are those of the batch; afterwards
`settle` is run once over many windows with the final weights, and what it leaves in the norms is kept. No moving
average of statistics is needed, and the averaged weights get statistics of their own.

Contrast alone was still at chance after 160 updates from nothing. So both embeddings also have to tell the mouth's
parameters, which drawn talkers come with.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt8

from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.syncnet import (
    EPSILON,
    FrozenNorm,
    Head,
    SyncNet,
    Tower,
    face_windows,
    pool,
    prepare_frames,
    sound_windows,
)

NEAR = 1
"""Frames by which a window of the same clip has to be away before it counts as wrong."""


class Learner(nnx.Module):
    """SyncNet with what reads the mouth's parameters from its embeddings, used in training only."""

    def __init__(self, cfg: SyncNetConfig, mouth_params: int, *, rngs: nnx.Rngs):
        self.net = SyncNet(cfg, rngs=rngs)
        self.face_mouth = nnx.Linear(cfg.embedding, cfg.frames * mouth_params, rngs=rngs)
        self.sound_mouth = nnx.Linear(cfg.embedding, cfg.frames * mouth_params, rngs=rngs)


def windows(
    levels: UInt8[Array, "m f h w 3"], cepstra: Float[Array, "m r c"], cfg: SyncNetConfig
) -> tuple[Float[Array, "m s s fc"], Float[Array, "m c r 1"]]:
    """Single windows as the two towers take them: RGB pictures in 0 ... 255, and rows of MFCC."""
    faces = jax.vmap(lambda clip: face_windows(prepare_frames(clip, cfg), cfg)[0])(levels)
    return faces, jax.vmap(lambda rows: sound_windows(rows, cfg)[0])(cepstra)


def settle(
    model: SyncNet, faces: Float[Array, "m s s fc"], sounds: Float[Array, "n c r 1"]
) -> tuple[Float[Array, "m e"], Float[Array, "n e"]]:
    """Embeddings of a batch; afterwards the model's norms hold the statistics of this batch."""
    faces = _settle_head(model.face_head, _settle_tower(model.face, faces))
    return faces, _settle_head(model.sound_head, _settle_tower(model.sound, sounds))


def _settle_tower(tower: Tower, x: Array) -> Float[Array, "n d"]:
    for layer, conv, norm in zip(tower.layers, tower.convs, tower.norms, strict=True):
        x = pool(jax.nn.relu(_settle_norm(norm, conv(x))), layer.pool)
    return x.reshape(x.shape[0], -1)


def _settle_head(head: Head, x: Float[Array, "n d"]) -> Float[Array, "n e"]:
    return head.outer(jax.nn.relu(_settle_norm(head.norm, head.inner(x))))


def _settle_norm(norm: FrozenNorm, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    axes = tuple(range(x.ndim - 1))
    norm.mean[...], norm.variance[...] = x.mean(axes), x.var(axes)
    return norm(x)


def fold(model: SyncNet) -> None:
    """Takes the norms' statistics into the layers before them, which changes the numbers but not the network.

    Pictures of 255 levels have variances beyond float16; what is left of all numbers is small.
    """
    towers = (model.face, model.sound)
    pairs = [pair for tower in towers for pair in zip(tower.convs, tower.norms, strict=True)]
    for layer, norm in pairs + [(head.inner, head.norm) for head in (model.face_head, model.sound_head)]:
        spread = jnp.sqrt(norm.variance[...] + EPSILON)
        layer.kernel[...] = layer.kernel[...] / spread
        layer.bias[...] = (layer.bias[...] - norm.mean[...]) / spread
        norm.mean[...], norm.variance[...] = jnp.zeros_like(spread), jnp.full_like(spread, 1 - EPSILON)


def distances(faces: Float[Array, "m e"], sounds: Float[Array, "n e"]) -> Float[Array, "m n"]:
    """Of every face to every sound."""
    squares = jnp.sum(faces**2, axis=1)[:, None] + jnp.sum(sounds**2, axis=1) - 2 * faces @ sounds.T
    return jnp.sqrt(jnp.maximum(squares, 1e-6))  # the slope of the root at zero is infinite


def too_near(clips: Int[Array, " m"], times: Int[Array, " m"], near: int = NEAR) -> Bool[Array, "m m"]:
    """Pairs of windows that are neither right nor clearly wrong."""
    apart = jnp.abs(times[:, None] - times)
    return (clips[:, None] == clips) & (apart <= near) & ~jnp.eye(len(clips), dtype=bool)


def cross_entropy(apart: Float[Array, "m m"], left_out: Bool[Array, "m m"]) -> Float[Array, ""]:
    """Of finding every face's sound and every sound's face among all of the batch; partners are on the diagonal."""
    logits = jnp.where(left_out, -jnp.inf, -apart)
    own = jnp.arange(len(apart))
    found = optax.softmax_cross_entropy_with_integer_labels
    return (found(logits, own).mean() + found(logits.T, own).mean()) / 2


def loss(graphdef, params, batch, mouth_weight: float) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Of a batch of windows with their sounds and mouths: see `training.sync_net.Windows`."""
    learner: Learner = nnx.merge(graphdef, params)
    faces, sounds = settle(learner.net, *windows(batch.levels, batch.cepstra, learner.net.cfg))
    apart, left_out = distances(faces, sounds), too_near(batch.clips, batch.times)
    contrast = cross_entropy(apart, left_out)
    mouths = batch.mouths.reshape(len(batch.mouths), -1)
    face_error = jnp.mean((learner.face_mouth(faces) - mouths) ** 2)
    sound_error = jnp.mean((learner.sound_mouth(sounds) - mouths) ** 2)
    found = jnp.argmin(jnp.where(left_out, jnp.inf, apart), axis=1) == jnp.arange(len(apart))
    metrics = {
        "contrast": contrast, "found": found.mean(), "own_distance": jnp.diagonal(apart).mean(),
        "face_error": face_error, "sound_error": sound_error,
    }  # fmt: skip
    return contrast + mouth_weight * (face_error + sound_error), metrics
