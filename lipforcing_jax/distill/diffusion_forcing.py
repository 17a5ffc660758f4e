"""Stage 1: diffusion forcing (spec training 1).

Every chunk of a clip is noised to its own level, clean included, and the whole clip is denoised at once under a
block-causal mask whose window is drawn anew for each update. Chunks drawn clean give no loss and serve as context.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import per_sample
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.models.remat import Remat
from lipforcing_jax.sampling.plan import chunk_lengths
from lipforcing_jax.sampling.window import block_causal_mask

WINDOWS = ((7, 1), (10, 1), (13, 1), (9, 3), (12, 3))
"""The (window, sink) pairs of the release, each with weight 0.2 (spec training 1.4)."""


def window_masks(frames: int, chunk: int, windows=WINDOWS) -> Bool[np.ndarray, "n t t"]:
    """Block-causal masks of all windows, to be drawn from by index inside jit."""
    return np.stack([block_causal_mask(frames, WindowConfig(chunk, w, s, False)) for w, s in windows])


def loss(
    base: Base,
    trained: nnx.State,
    target: Float[Array, "b t h w c"],
    condition: Condition,
    masks: Bool[Array, "n t t"],
    key: Array,
    *,
    chunk: int,
    t_list: tuple[float, ...],
    keep_weight: float = 1.0,
    channel_weights: Float[Array, " c"] | float = 1.0,
    remat: Remat = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """0.5 mean((x0_hat - x0)^2) of one update, over the samples that are finite.

    Args:
      target: the clean clips. masks: `window_masks`, one of which is drawn.
      keep_weight: weight of the kept cells; 1 is the reference's plain mean (spec training 1.3).
      channel_weights: weight of each latent channel, about 1; for latents that are whitened, as nano's.
    """
    keep = condition.finite() & per_sample.finite(target)
    target, condition = per_sample.neutral(keep, target), condition.neutral(keep)
    model = base.join(trained)
    batch, frames = target.shape[:2]
    key_t, key_eps, key_window = jax.random.split(key, 3)
    t = flow.sample_chunk_levels(key_t, batch, chunk_lengths(frames, chunk), t_list)
    noisy = flow.add_noise(target, jax.random.normal(key_eps, target.shape, target.dtype), t)
    velocity, _ = model(
        noisy, condition.channels(), t, model.text_keys(condition.text), condition.audio,
        positions=jnp.arange(frames), frame_mask=masks[jax.random.randint(key_window, (), 0, masks.shape[0])],
        remat=remat,
    )  # fmt: skip
    wide = jnp.promote_types(target.dtype, jnp.float32)
    difference = flow.flow_to_x0(noisy, velocity, t).astype(wide) - target.astype(wide)
    squared = jnp.mean(difference**2 * channel_weights, axis=-1)
    weights = jnp.where(condition.mask > 0.5, keep_weight, 1.0)
    total = per_sample.kept_mean(0.5 * per_sample.mean(squared * weights), keep)
    metrics = {f"mouth_error_{level}": mouth_error(squared, condition.mask, t, level, keep) for level in t_list[:-1]}
    return total, metrics | {"skipped_samples": jnp.sum(~keep)}


def mouth_error(
    squared: Float[Array, "b t h w"],
    mask: Float[Array, "h w"],
    t: Float[Array, "b t"],
    level: float,
    keep: Bool[Array, " b"],
) -> Float[Array, ""]:
    """Mean squared error of the generated cells over the frames that were noised to one level."""
    chosen = ((jnp.abs(t - level) < 1e-3) & keep[:, None])[:, :, None, None] * jnp.where(mask > 0.5, 0.0, 1.0)
    return jnp.sum(squared * chosen) / jnp.maximum(jnp.sum(chosen), 1.0)
