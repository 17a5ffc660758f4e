"""The one attention call of the project, and its back ends."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipforcing_jax.models import splash
from lipforcing_jax.parallel.sharding import constrain, per_device

Backend = Literal["xla", "cudnn", "splash"]
AXES = ("batch", None, "heads", None)
"""Of queries, keys and values: every device has all tokens and a slice of the heads."""


def attend(
    q: Float[Array, "b n heads d"],
    k: Float[Array, "b m heads d"],
    v: Float[Array, "b m heads d"],
    mask: Bool[Array, "f g"] | None = None,
    *,
    backend: Backend = "xla",
) -> Float[Array, "b n heads d"]:
    """Softmax attention with scale 1/sqrt(d).

    Args:
      mask: True where a frame of the queries may see a frame of the keys; n / f and m / g tokens make a frame.
      backend: "xla" runs everywhere; "cudnn" is the fused kernel of `jax.nn` on NVIDIA GPUs, for bfloat16 and float16;
        "splash" the one for TPUs, for shapes that it can tile. What these can't take goes to "xla".

    The softmax runs in float32, or in float64 for float64 inputs: `jax.nn.dot_product_attention` always rounds it to
    float32, which the comparison with the reference at 1e-10 would show.
    """
    q, k, v = (constrain(x, *AXES) for x in (q, k, v))
    if backend == "splash" and splash.fits(q, k, mask):
        if mask is None:
            return per_device(splash.attend, (AXES,) * 3, AXES, q, k, v)
        return per_device(splash.attend, (*(AXES,) * 3, (None, None)), AXES, q, k, v, mask)
    if mask is not None:
        mask = jnp.repeat(jnp.repeat(mask, q.shape[1] // mask.shape[0], 0), k.shape[1] // mask.shape[1], 1)
    if backend == "cudnn" and q.dtype.itemsize == 2:
        mask = None if mask is None else mask[None, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(wide).min)
    return jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(logits, axis=-1).astype(v.dtype), v)


def best_backend(platform: str) -> Backend:
    """The back end for devices of a platform, by JAX's name for it."""
    return {"tpu": "splash", "gpu": "cudnn", "cuda": "cudnn"}.get(platform, "xla")
