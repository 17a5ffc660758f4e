"""Stage 1: diffusion forcing (spec training 1).

Every chunk of a clip is noised to its own level, clean included, and the whole clip is denoised at once under a
block-causal mask whose window is drawn anew for each update. Chunks drawn clean give no loss and serve as context.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from lipforcing_jax import flow
from lipforcing_jax.distill.base import Base
from lipforcing_jax.models.conditioning import condition_channels
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.sampling.plan import chunk_lengths
from lipforcing_jax.sampling.window import block_causal_mask

WINDOWS = ((7, 1), (10, 1), (13, 1), (9, 3), (12, 3))
"""The (window, sink) pairs of the release, each with weight 0.2 (spec training 1.4)."""


class Clip(NamedTuple):
    """One batch: what shall come out, what the source shows, and the sound."""

    target: Float[Array, "b t h w c"]
    ref_latent: Float[Array, "b 1 h w c"]
    masked_video: Float[Array, "b t h w c"]
    ref_sequence: Float[Array, "b t h w c"]
    audio: Float[Array, "b t 4a"]


def window_masks(frames: int, chunk: int, windows=WINDOWS) -> Bool[np.ndarray, "n t t"]:
    """Block-causal masks of all windows, to be drawn from by index inside jit."""
    return np.stack([block_causal_mask(frames, WindowConfig(chunk, w, s, False)) for w, s in windows])


def loss(
    base: Base,
    trained: nnx.State,
    clip: Clip,
    mask: Float[Array, "h w"],
    masks: Bool[Array, "n t t"],
    key: Array,
    *,
    chunk: int,
    t_list: tuple[float, ...],
    text: Float[Array, "1 l d"],
    keep_weight: float = 1.0,
    channel_weights: Float[Array, " c"] | float = 1.0,
    remat: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """0.5 mean((x0_hat - x0)^2) of one update.

    Args:
      mask: 1 keep, 0 generate, at latent resolution. masks: `window_masks`, one of which is drawn.
      keep_weight: weight of the kept cells; 1 is the reference's plain mean (spec training 1.3).
      channel_weights: weight of each latent channel, about 1; for latents that are whitened, as nano's.
    """
    model = base.join(trained)
    batch, frames = clip.target.shape[:2]
    key_t, key_eps, key_window = jax.random.split(key, 3)
    t = flow.sample_chunk_levels(key_t, batch, chunk_lengths(frames, chunk), t_list)
    eps = jax.random.normal(key_eps, clip.target.shape, clip.target.dtype)
    noisy = flow.add_noise(clip.target, eps, t)
    condition = condition_channels(clip.ref_latent, mask, clip.masked_video, clip.ref_sequence)
    visible = masks[jax.random.randint(key_window, (), 0, masks.shape[0])]
    text_kv = model.text_keys(jnp.broadcast_to(text, (batch, *text.shape[1:])))
    velocity, _ = model(
        noisy, condition, t, text_kv, clip.audio, positions=jnp.arange(frames), frame_mask=visible, remat=remat
    )
    difference = flow.flow_to_x0(noisy, velocity, t) - clip.target
    squared = jnp.mean(difference**2 * channel_weights, axis=-1)
    weights = jnp.where(mask > 0.5, keep_weight, 1.0)
    total = 0.5 * jnp.mean(squared * weights)
    generated = jnp.where(mask > 0.5, 0.0, 1.0)

    def error_at(level: float):
        chosen = (jnp.abs(t - level) < 1e-3)[:, :, None, None] * generated
        return jnp.sum(squared * chosen) / jnp.maximum(jnp.sum(chosen), 1.0)

    return total, {f"mouth_error_{level}": error_at(level) for level in t_list[:-1]}
