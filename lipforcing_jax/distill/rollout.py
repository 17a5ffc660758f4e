"""Self-forcing: the student makes a whole clip from its own past, without gradients (spec training 2.4).

Every chunk stops at the same denoising step, its exit. What entered that one step is recorded, chunk by chunk, so that
`student.gradient` can differentiate it later and hold the activations of a single chunk.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lipforcing_jax import flow
from lipforcing_jax.distill.condition import Condition, join_chunks
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.sampling import causal


class Rollout(NamedTuple):
    """A clip of the student's own, and what entered its exit steps. Their past follows from the clip."""

    x0: Float[Array, "b t h w c"]
    exit_level: Float[Array, ""]
    """The noise level of the exit step."""
    exit_inputs: Float[Array, "n b chunk h w c"]


def draw_noise(
    key: Array, latents: Float[Array, "b t h w c"], chunk: int, steps: int
) -> Float[Array, "n s b chunk h w c"]:
    """Noise of one rollout: each chunk's start, scaled to t = 0.999, and a fresh draw per further step.

    Sizes are those of `latents`, of which no value is used. The key of chunk k is `fold_in(key, k)`, as in inference.
    """
    batch, frames, *cell = latents.shape
    shape = (batch, chunk, *cell)
    draw = lambda k: causal.chunk_noise(key, k, shape, steps, latents.dtype)  # noqa: E731
    noise = jax.vmap(draw)(jnp.arange(frames // chunk))
    return noise.at[:, 0].set(flow.initial_latents(noise[:, 0]))


def rollout(
    model: DiT,
    condition: Condition,
    noise: Float[Array, "n s b chunk h w c"],
    *,
    window: WindowConfig,
    t_list: tuple[float, ...],
    exit_step: int,
) -> Rollout:
    """Chunk after chunk: denoise until `exit_step` (0 is the first), remember the clean result, go on.

    Args:
      noise: `draw_noise`, or given numbers in a parity test; at least exit_step + 1 draws for each of the n chunks.
      t_list: noise levels ending in 0.
      exit_step: a number of the host, so that each step has a program of its own with no branch in it.

    Raises:
      ValueError: there is no such step, or the clip does not divide into chunks.
    """
    if not 0 <= exit_step < len(t_list) - 1:
        raise ValueError(f"exit step {exit_step} does not exist among {len(t_list) - 1} denoising steps")
    batch, _, height, width = noise.shape[2:6]
    frames = noise.shape[0] * window.chunk
    text = model.text_keys(condition.text)
    state = causal.start(model, window, batch, height, width, noise.dtype, frames)
    level = jnp.asarray(t_list[exit_step], causal.flow_dtype(noise))

    def advance(state, given):
        chunk, draws = given
        state, predictions = causal.step(
            model, text, window, (*t_list[: exit_step + 1], 0.0), condition.mask, state, chunk, draws
        )
        last = draws[0] if exit_step == 0 else flow.add_noise(predictions[-2], draws[exit_step], level)
        return state, (predictions[-1], last)

    chunks = condition.chunks(window.chunk)
    _, (x0, exit_inputs) = jax.lax.scan(advance, state, (chunks, noise))
    return Rollout(join_chunks(x0), level, exit_inputs)
