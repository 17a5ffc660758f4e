"""The bidirectional teacher's sampler: Euler steps along the flow with text and audio guidance (spec network 7.5, 8).

The whole clip is denoised at once. Guidance is a combination of up to three flows: with text and sound (p), with text
and zero sound (a), with the negative text and zero sound (n).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lipforcing_jax.models.dit import DiT, KeyValues

SYNC_WINDOW = (0.556, 0.882)


@dataclass(frozen=True)
class Guidance:
    """How strongly the sampler is pulled away from the negative condition.

    `text` alone is one joint scale for text and sound; with `audio` the two have scales of their own and a third pass
    is made. Outside `window`, both ends included, no guidance is given and the negative passes are left out;
    `SYNC_WINDOW` is that of the distillation.
    """

    text: float = 4.5
    audio: float | None = None
    window: tuple[float, float] | None = None

    def active(self, t: float) -> bool:
        """Whether guidance is given at noise level t."""
        idle = self.text == 1.0 and self.audio in (None, 1.0)
        return not idle and (self.window is None or self.window[0] <= t <= self.window[1])


class Prompt(NamedTuple):
    """What the clip is told: the texts of both conditions as cross-attention sees them, and the sound."""

    text: KeyValues
    negative_text: KeyValues
    audio: Float[Array, "b t 4a"]


def levels(steps: int = 50, shift: float = 5.0) -> Float[np.ndarray, " n"]:
    """Noise levels from 1 to 0, [steps + 1], float64: s u / (1 + (s - 1) u) at u = 1 - i / steps."""
    u = 1 - np.arange(steps + 1) / steps
    return shift * u / (1 + (shift - 1) * u)


def plain_flow(
    model: DiT,
    x: Float[Array, "b t h w c"],
    condition: Float[Array, "b t h w y"],
    t: Float[Array, "b 1"],
    prompt: Prompt,
) -> Float[Array, "b t h w c"]:
    """The flow at x_t without guidance: one pass."""
    return model(x, condition, t, prompt.text, prompt.audio, positions=jnp.arange(x.shape[1]))[0]


def guided_flow(
    model: DiT,
    x: Float[Array, "b t h w c"],
    condition: Float[Array, "b t h w y"],
    t: Float[Array, "b 1"],
    prompt: Prompt,
    guidance: Guidance,
) -> Float[Array, "b t h w c"]:
    """The flow at x_t with guidance (spec network 8.5): two passes, three with an audio scale of its own."""
    unheard_prompt = prompt._replace(audio=jnp.zeros_like(prompt.audio))
    positive = plain_flow(model, x, condition, t, prompt)
    negative = plain_flow(model, x, condition, t, unheard_prompt._replace(text=prompt.negative_text))
    if guidance.audio is None or guidance.audio == guidance.text:
        return negative + guidance.text * (positive - negative)
    unheard = plain_flow(model, x, condition, t, unheard_prompt)
    return negative + guidance.text * (unheard - negative) + guidance.audio * (positive - unheard)


def sample(
    model: DiT,
    noise: Float[Array, "b t h w c"],
    condition: Float[Array, "b t h w y"],
    prompt: Prompt,
    guidance: Guidance = Guidance(),  # noqa: B008 - frozen
    schedule: Float[np.ndarray, " n"] | None = None,
    bfloat16_timestep: bool = False,
) -> tuple[Float[Array, "b t h w c"], Float[Array, "n b t h w c"]]:
    """Denoises a clip from unit noise.

    Args:
      condition: `conditioning.condition_channels`. schedule: falling noise levels ending in 0; `levels()` by default.
      bfloat16_timestep: round 1000 t to bfloat16 before it is embedded, as the published sampler does.

    Returns:
      the latents, and after each step the x0 that its flow points at.
    """
    schedule = levels() if schedule is None else np.asarray(schedule, np.float64)
    told = np.asarray(jnp.asarray(1000 * schedule, jnp.bfloat16), np.float64) / 1000 if bfloat16_timestep else schedule
    dtype = jnp.promote_types(noise.dtype, jnp.float32)
    guided = np.array([guidance.active(t) for t in schedule[:-1]])

    def plain(x, t):
        return plain_flow(model, x, condition, t, prompt)

    def strong(x, t):
        return guided_flow(model, x, condition, t, prompt, guidance)

    def step(x, at):
        t, target, embedded, given = at
        level = jnp.full((x.shape[0], 1), embedded, dtype)
        if guided.all() or not guided.any():
            velocity = (strong if guided.all() else plain)(x, level)
        else:
            velocity = jax.lax.cond(given, strong, plain, x, level)
        wide, velocity = x.astype(dtype), velocity.astype(dtype)
        return (wide + (target - t) * velocity).astype(x.dtype), (wide - t * velocity).astype(x.dtype)

    ladder = [jnp.asarray(values, dtype) for values in (schedule[:-1], schedule[1:], told[:-1])]
    return jax.lax.scan(step, noise, (*ladder, jnp.asarray(guided)))
