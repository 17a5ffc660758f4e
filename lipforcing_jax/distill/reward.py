"""The reward: clips whose mouths fit their sound count more (spec training 2.8 and 3).

A clip's reward is its Sync-C. It weighs the clip's distribution-matching loss and has no gradient of its own.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipforcing_jax.distill import per_sample
from lipforcing_jax.models.sync_distance import SyncScore, score, shift_distances
from lipforcing_jax.models.syncnet import SyncNet, prepare_frames, to_levels
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.parallel.sharding import by_sample
from lipforcing_jax.sampling.plan import LEAD


@dataclass(frozen=True)
class RewardConfig:
    """How rewards become weights exp(beta r). The released values are the defaults.

    per_sample: mean_i(W_i L_i). self_normalized: sum_i(W_i L_i) / sum_i W_i. legacy_batch_mean: mean(W) mean(L).
    """

    beta: float = 2.0
    mode: Literal["per_sample", "self_normalized", "legacy_batch_mean"] = "per_sample"
    center: bool = False
    """Subtract the running mean of the rewards."""
    clamp: tuple[float, float] | None = None
    """Bounds of the reward, after centring."""


class RunningMean(NamedTuple):
    """Mean of the rewards so far, and whether there were any."""

    value: Float[Array, ""]
    started: Bool[Array, ""]


def no_rewards_yet() -> RunningMean:
    return RunningMean(jnp.zeros((), jnp.float32), jnp.zeros((), bool))


def follow(mean: RunningMean, rewards: Float[Array, " b"], keep: Bool[Array, " b"], decay: float = 0.9) -> RunningMean:
    """The mean after a batch: its own mean the first time, then 0.9 of the old one. Only kept samples count."""
    batch = per_sample.kept_mean(rewards, keep)
    value = jnp.where(mean.started, decay * mean.value + (1 - decay) * batch, batch)
    any_kept = jnp.any(keep)
    return RunningMean(jnp.where(any_kept, value, mean.value), mean.started | any_kept)


class Weighting(NamedTuple):
    """Weights exp(beta r), and the factor that each sample's loss and gradient get in the weighted mean."""

    weights: Float[Array, " b"]
    factors: Float[Array, " b"]
    mean: RunningMean


def weigh(
    rewards: Float[Array, " b"], keep: Bool[Array, " b"], cfg: RewardConfig, mean: RunningMean | None = None
) -> Weighting:
    """The weighted loss is sum_i factors_i L_i, and so is its gradient, since rewards are constants.

    Args:
      rewards: Sync-C of each clip. keep: which samples are finite; the others get weight and factor 0.
      mean: needed only if rewards are centred; updated before it is subtracted.

    Raises:
      ValueError: centring without a running mean, or an unknown mode.
    """
    r = jnp.where(keep, rewards, 0).astype(jnp.float32)
    mean = no_rewards_yet() if mean is None and not cfg.center else mean
    if mean is None:
        raise ValueError("rewards can't be centred without their running mean")
    if cfg.center:
        mean = follow(mean, r, keep)
        r = r - mean.value
    if cfg.clamp is not None:
        r = jnp.clip(r, *cfg.clamp)
    weights = jnp.where(keep, jnp.exp(cfg.beta * r), 0.0)
    kept = jnp.maximum(jnp.sum(keep), 1)
    match cfg.mode:
        case "per_sample":
            factors = weights / kept
        case "self_normalized":
            factors = weights / (jnp.sum(weights) + 1e-8)
        case "legacy_batch_mean":
            factors = jnp.where(keep, jnp.sum(weights) / kept / kept, 0.0)
        case _:
            raise ValueError(f"{cfg.mode!r} is no way of weighing rewards")
    return Weighting(weights, factors, mean)


def face_frames(vae: TinyVAE, latents: Float[Array, "t h w c"], net: SyncNet) -> Float[Array, "v s s 3"]:
    """The pictures of a clip as SyncNet sees them, v = 4t - 3.

    They are drawn one latent frame at a time, so that a clip's full-size pictures never exist together.
    """

    def draw(memory, latent):
        pixels, memory = vae.decode(latent[None, None].astype(vae.dtype), memory)
        return memory, prepare_frames(to_levels(2.0 * pixels[0].astype(jnp.float32) - 1.0), net.cfg)

    memory = vae.decoder.memory(1, *latents.shape[1:3], vae.dtype)
    _, frames = jax.lax.scan(draw, memory, latents)
    return frames.reshape(-1, *frames.shape[2:])[LEAD:]


def sync_scores(
    vae: TinyVAE, net: SyncNet, latents: Float[Array, "b t h w c"], cepstra: Float[Array, "b m k"]
) -> SyncScore:
    """Sync-C (the reward), Sync-D and the best shift of every clip, each [b], in the scorer's form.

    Args:
      latents: as the student makes them. cepstra: `media.mfcc` of the clip's sound, 100 rows a second.

    A device judges its clips one after the other: SyncNet's windows of a single clip fill it.
    """

    def judge(judges, latents, cepstra):
        vae, net = judges

        def one(clip):
            frames, sound = face_frames(vae, clip[0], net), clip[1].astype(jnp.float32)
            return score(shift_distances(net.embed_faces(frames), net.embed_sound(sound)))

        return jax.lax.map(one, (latents, cepstra))

    return by_sample(judge, (vae, net), latents, cepstra)
