"""Rectified flow: noising, conversions between predictions, timesteps (spec network 7).

x_t = (1 - t) x0 + t eps, the network predicts the flow v = eps - x0. All arithmetic runs in float32 at least and the
result has the dtype of the latent; never in bfloat16 (spec network, trap 26).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MAX_T = 0.999
MIN_SHIFTED_T = 0.001


def _wide(t: Array, *latents: Array) -> tuple[Array, ...]:
    """Casts to the working precision and gives t trailing axes, so that [b] or [b, frames] broadcasts."""
    dtype = jnp.promote_types(jnp.result_type(*latents), jnp.float32)
    t = jnp.asarray(t, dtype)
    t = t.reshape(t.shape + (1,) * (latents[0].ndim - t.ndim))
    return (t, *(x.astype(dtype) for x in latents))


def _nonzero(a: Array) -> Array:
    return jnp.where(a >= 0, jnp.maximum(a, 1e-6), jnp.minimum(a, -1e-6))


def add_noise(x0: Float[Array, "b *s"], eps: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    """x_t = (1 - t) x0 + t eps."""
    tw, x0w, epsw = _wide(t, x0, eps)
    return ((1 - tw) * x0w + tw * epsw).astype(x0.dtype)


def flow_to_x0(x_t: Float[Array, "b *s"], flow: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    """x0 = x_t - t v; at t = 0 exactly x_t."""
    tw, xw, vw = _wide(t, x_t, flow)
    return (xw - tw * vw).astype(x_t.dtype)


def x0_to_flow(x_t: Float[Array, "b *s"], x0: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    tw, xw, x0w = _wide(t, x_t, x0)
    return ((xw - x0w) / _nonzero(tw)).astype(x_t.dtype)


def eps_to_x0(x_t: Float[Array, "b *s"], eps: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    tw, xw, epsw = _wide(t, x_t, eps)
    return ((xw - tw * epsw) / _nonzero(1 - tw)).astype(x_t.dtype)


def x0_to_eps(x_t: Float[Array, "b *s"], x0: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    tw, xw, x0w = _wide(t, x_t, x0)
    return ((xw - (1 - tw) * x0w) / _nonzero(tw)).astype(x_t.dtype)


def flow_to_eps(x_t: Float[Array, "b *s"], flow: Float[Array, "b *s"], t: Float[Array, "..."]) -> Float[Array, "b *s"]:
    """Two hops; x0 is rounded to the latent's dtype in between, as in the reference (spec network 7.3)."""
    return x0_to_eps(x_t, flow_to_x0(x_t, flow, t), t)


def initial_latents(noise: Float[Array, "b *s"], t: float = MAX_T) -> Float[Array, "b *s"]:
    """Noise scaled to level t. Training rollouts start here; inference starts from unit noise (spec network 7.4)."""
    return (noise.astype(jnp.promote_types(noise.dtype, jnp.float32)) * t).astype(noise.dtype)


def shifted_t(u: Float[Array, "*b"], shift: float = 5.0) -> Float[Array, "*b"]:
    """Maps uniform draws in [0, 1) to the noise levels of the distribution-matching losses (spec training 0.2)."""
    u = u * (MAX_T - MIN_SHIFTED_T) + MIN_SHIFTED_T
    return jnp.clip(shift * u / ((shift - 1) * u + 1), MIN_SHIFTED_T, MAX_T)


def default_t_list(steps: int) -> Float[Array, " n"]:
    """Evenly spaced noise levels from 0.999 to 0."""
    return jnp.linspace(MAX_T, 0.0, steps + 1)


def guidance_scale(
    t: Float[Array, " b"], scale: float = 4.5, window: tuple[float, float] = (0.556, 0.882)
) -> Float[Array, " b"]:
    """The sync window: `scale` for noise levels inside it, both ends included, else 1 (spec network 8.4)."""
    return jnp.where((t >= window[0]) & (t <= window[1]), scale, 1.0)


def guide(
    positive: Float[Array, "b *s"], negative: Float[Array, "b *s"], scale: Float[Array, " b"]
) -> Float[Array, "b *s"]:
    """Classifier-free guidance of x0 predictions, per sample: pos + (s - 1)(pos - neg)."""
    scale = scale.reshape(scale.shape + (1,) * (positive.ndim - 1)).astype(positive.dtype)
    return positive + (scale - 1) * (positive - negative)


def sample_chunk_levels(
    key: Array, batch: int, chunks: tuple[int, ...], t_list: tuple[float, ...]
) -> Float[Array, "b frames"]:
    """Diffusion forcing: every chunk of every sample draws its own level from the whole list, clean included.

    `chunks` are the chunk lengths in latent frames (spec training 0.4).
    """
    ids = jax.random.randint(key, (batch, len(chunks)), 0, len(t_list))
    return jnp.repeat(jnp.asarray(t_list)[ids], jnp.asarray(chunks), axis=1, total_repeat_length=sum(chunks))
