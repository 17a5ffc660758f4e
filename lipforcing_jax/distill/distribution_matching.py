"""Distribution matching: where the teacher would move a clip, and where the critic says it is (spec training 2.6, 2.7).

The student is pulled along (critic's x0 - guided teacher's x0). Guidance is given only where the re-noised clip lies in
the sync window, the noise levels at which a guided teacher settles the mouth.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import per_sample
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition, predict_x0


@partial(jax.tree_util.register_dataclass, data_fields=("scale", "low", "high"), meta_fields=("reverse",))
@dataclass(frozen=True)
class SyncWindow:
    """Guidance of the teacher: `scale` inside [low, high], both ends included, and 1 outside; or the reverse.

    (0, 1) gives guidance everywhere, scale 1 none. Its numbers are no part of a program: all windows share one.
    """

    scale: float = 4.5
    low: float = 0.556
    high: float = 0.882
    reverse: bool = False

    def scales(self, t: Float[Array, " b"]) -> Float[Array, " b"]:
        """The scale of every sample by the level to which it was noised, not by the student's."""
        inside = flow.guidance_scale(t, self.scale, (self.low, self.high))
        return 1.0 + self.scale - inside if self.reverse else inside


class Opinions(NamedTuple):
    """The x0 predictions at one noisy clip."""

    critic: Float[Array, "b t h w c"]
    teacher: Float[Array, "b t h w c"]
    guided: Float[Array, "b t h w c"]


def opinions(
    base: Base,
    critic: nnx.State,
    teacher: nnx.State,
    x_t: Float[Array, "b t h w c"],
    t: Float[Array, " b"],
    condition: Condition,
    negative_text: Float[Array, "1 l d"],
    window: SyncWindow = SyncWindow(),  # noqa: B008 - frozen
) -> Opinions:
    """What critic and teacher make of the re-noised rollout; the critic gets no guidance.

    The teacher's negative pass is left out where no sample of the batch is guided.
    """
    model, scales = base.join(teacher), window.scales(t)
    positive = predict_x0(model, x_t, t, condition)

    def guide(positive):
        negative = predict_x0(model, x_t, t, condition.negative(negative_text))
        return flow.guide(positive, negative, scales)

    guided = jax.lax.cond(jnp.any(scales != 1.0), guide, lambda positive: positive, positive)
    return Opinions(predict_x0(base.join(critic), x_t, t, condition), positive, guided)


class Match(NamedTuple):
    """The pseudo-loss of every sample and its gradient with respect to the rollout."""

    loss: Float[Array, " b"]
    gradient: Float[Array, "b t h w c"]
    distance: Float[Array, " b"]
    """Mean distance of the rollout from the guided teacher's x0."""
    weight: Float[Array, " b"]


def match(
    x0: Float[Array, "b t h w c"], critic_x0: Float[Array, "b t h w c"], guided_x0: Float[Array, "b t h w c"]
) -> Match:
    """0.5 mean((x0 - target)^2) per sample with target = x0 - w (critic_x0 - guided_x0) held constant.

    w = 1 / (mean|x0 - guided_x0| + 1e-6) makes samples comparable across noise levels. Everything runs in float32 at
    least, where the reference rounds w and the target to bfloat16 (spec training, trap T11).
    """
    wide = jnp.promote_types(x0.dtype, jnp.float32)
    x0, critic_x0, guided_x0 = (a.astype(wide) for a in (x0, critic_x0, guided_x0))
    distance = per_sample.mean(jnp.abs(x0 - guided_x0))
    weight = 1.0 / (distance + 1e-6)
    direction = (critic_x0 - guided_x0) * jnp.expand_dims(weight, range(1, x0.ndim))
    # x0 - target is `direction` itself, so neither needs to be formed and no digits are lost.
    return Match(0.5 * per_sample.mean(direction**2), direction / x0[0].size, distance, weight)
