"""The one attention call of the project."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def attend(
    q: Float[Array, "b n heads d"],
    k: Float[Array, "b m heads d"],
    v: Float[Array, "b m heads d"],
    mask: Bool[Array, "n m"] | None = None,
    *,
    backend: str = "xla",
) -> Float[Array, "b n heads d"]:
    """Softmax attention with scale 1/sqrt(d); `mask` is True where a query may see a key.

    Args:
      backend: "xla" runs everywhere; "cudnn" is the fused kernel of `jax.nn` on NVIDIA GPUs (bfloat16 or float16).

    The softmax runs in float32, or in float64 for float64 inputs: `jax.nn.dot_product_attention` always rounds it to
    float32, which the comparison with the reference at 1e-10 would show.
    """
    if backend == "cudnn":
        mask = None if mask is None else mask[None, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(wide).min)
    return jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(logits, axis=-1).astype(v.dtype), v)
