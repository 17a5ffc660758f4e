"""Stage 2: what a batch teaches the critic, and what it teaches the student (spec training 2.3 to 2.8).

Both parts let the student make clips of its own and judge those; the data give conditions only. The parts take
different keys. Their optimisers step elsewhere: the student rarely, the critic always.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import critic as critic_loss
from lipforcing_jax.distill import distribution_matching, per_sample, reward
from lipforcing_jax.distill import student as student_gradient
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.distribution_matching import SyncWindow
from lipforcing_jax.distill.reward import RewardConfig, RunningMean
from lipforcing_jax.distill.rollout import draw_noise, rollout
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE


@partial(jax.tree_util.register_dataclass, data_fields=["t_list", "shift"], meta_fields=["window", "reward", "remat"])
@dataclass(frozen=True)
class Recipe:
    """The released settings of stage 2. Without `reward` all clips count alike.

    Levels are arguments of the programs, everything else is part of them: runs that land elsewhere share theirs.
    """

    window: WindowConfig = WindowConfig()
    t_list: tuple[float, ...] = (0.999, 0.769, 0.0)
    shift: float = 5.0
    reward: RewardConfig | None = RewardConfig()
    remat: str = "full"
    """What backward passes recompute of each block (`models.remat`)."""


class Judge(NamedTuple):
    """What turns latents into a reward: the decoder that draws them and the network that compares mouth and sound."""

    vae: TinyVAE
    net: SyncNet


Metrics = dict[str, Float[Array, ""]]


def draw_exit_step(key: Array, recipe: Recipe) -> int:
    """The denoising step at which a rollout's chunks stop, on the host: one program exists for each."""
    return int(jax.random.randint(key, (), 0, len(recipe.t_list) - 1))


def make_and_noise(base: Base, student: nnx.State, condition: Condition, key: Array, recipe: Recipe, exit_step: int):
    """A rollout, and the draws of the level and the noise under which networks are asked about it."""
    key_noise, key_t, key_eps = jax.random.split(key, 3)
    latents = condition.masked_video
    noise = draw_noise(key_noise, latents, recipe.window.chunk, len(recipe.t_list) - 1)
    made = rollout(
        base.join(student), condition, noise, window=recipe.window, t_list=recipe.t_list, exit_step=exit_step
    )
    t = flow.shifted_t(jax.random.uniform(key_t, latents.shape[:1]), recipe.shift)
    return made, t, jax.random.normal(key_eps, latents.shape, latents.dtype)


@partial(jax.jit, static_argnames="exit_step")
def teach_critic(
    base: Base, critic: nnx.State, student: nnx.State, condition: Condition, key: Array, recipe: Recipe, exit_step: int
) -> tuple[nnx.State, Metrics]:
    """The critic's gradient on a fresh rollout."""
    made, t, eps = make_and_noise(base, student, condition, key, recipe, exit_step)
    found, gradients = critic_loss.gradient(base, critic, made.x0, t, eps, condition, remat=recipe.remat)
    return gradients, {"critic_loss": found.loss, "skipped_samples": jnp.sum(~found.kept)}


@partial(jax.jit, static_argnames="exit_step")
def teach_student(
    base: Base,
    student: nnx.State,
    critic: nnx.State,
    teacher: nnx.State,
    condition: Condition,
    negative_text: Float[Array, "1 l d"],
    key: Array,
    recipe: Recipe,
    exit_step: int,
    guidance: SyncWindow = SyncWindow(),  # noqa: B008 - frozen
    judge: Judge | None = None,
    cepstra: Float[Array, "b m k"] | None = None,
    mean: RunningMean | None = None,
) -> tuple[nnx.State, Metrics, RunningMean | None]:
    """The student's gradient on a fresh rollout, and the running mean of the rewards after it.

    `judge` and `cepstra` (`reward.sync_scores`) are needed where the recipe has a reward, `mean` where it is centred.

    Raises:
      ValueError: the recipe has a reward, and there is no judge or no sound.
    """
    made, t, eps = make_and_noise(base, student, condition, key, recipe, exit_step)
    x_t = flow.add_noise(made.x0, eps, t)
    asked = distribution_matching.opinions(base, critic, teacher, x_t, t, condition, negative_text, guidance)
    matched = distribution_matching.match(made.x0, asked.critic, asked.guided)
    keep = student_gradient.finite_samples(made, condition) & per_sample.finite(matched.gradient)
    metrics: Metrics = {}
    if recipe.reward is None:
        factors = keep / jnp.maximum(jnp.sum(keep), 1)
    else:
        if judge is None or cepstra is None:
            raise ValueError("a recipe with a reward needs a judge and the sound's cepstra")
        scores = reward.sync_scores(judge.vae, judge.net, made.x0, cepstra)
        keep = keep & jnp.isfinite(scores.confidence)
        weighed = reward.weigh(scores.confidence, keep, recipe.reward, mean)
        factors, mean = weighed.factors, weighed.mean
        metrics |= spread("reward", scores.confidence, keep) | spread("weight", weighed.weights, keep)
        metrics["sync_distance"] = per_sample.kept_mean(scores.distance, keep)
    pull = matched.gradient * jnp.expand_dims(factors, range(1, made.x0.ndim))
    gradients = student_gradient.gradient(base, student, made, condition, pull, recipe.window, remat=recipe.remat)
    metrics |= {
        "student_loss": jnp.sum(jnp.where(keep, factors * matched.loss, 0)),
        "matching_loss": per_sample.kept_mean(matched.loss, keep),
        "teacher_distance": per_sample.kept_mean(matched.distance, keep),
        "skipped_samples": jnp.sum(~keep),
    }
    return gradients, metrics, mean


def spread(name: str, values: Float[Array, " b"], keep) -> Metrics:
    """Mean and standard deviation over the kept samples."""
    mean = per_sample.kept_mean(values, keep)
    return {f"{name}_mean": mean, f"{name}_std": jnp.sqrt(per_sample.kept_mean((values - mean) ** 2, keep))}
