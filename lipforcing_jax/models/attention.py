"""The one attention call of the project, and its back ends."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipforcing_jax.models import ring, splash
from lipforcing_jax.parallel import sharding
from lipforcing_jax.parallel.sharding import constrain, per_device

Backend = Literal["xla", "by_head", "cudnn", "splash"]
AXES = ("batch", None, "heads", None)
"""Of queries, keys and values: every device has all tokens and a slice of the heads."""
RING = ("batch", "tokens", "wide", None)
"""The same where heads are too few for that: every device keeps its tokens."""
AT_ONCE = 1 << 23
"""Logits of all heads that a CPU may have in memory at once: with more, one head after the other is faster, and saves
memory in training."""


def places(x: Float[Array, "b n heads d"]) -> tuple[str | None, ...]:
    """Which of the two ways queries, keys or values lie on the current mesh."""
    members = sharding.ring(x.shape[2])
    return RING if members > 1 and x.shape[1] % members == 0 else AXES


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
      backend: "xla" runs everywhere; "by_head" is it with one head's logits at a time, for CPUs; "cudnn" is the fused
        kernel of `jax.nn` on NVIDIA GPUs, for bfloat16 and float16; "splash" the one for TPUs, for shapes that it can
        tile. What these can't take goes to "xla".

    The softmax runs in float32, or in float64 for float64 inputs: `jax.nn.dot_product_attention` always rounds it to
    float32, which the comparison with the reference at 1e-10 would show.

    Where a mesh has more devices along tokens than the heads give, keys and values go round these devices, whatever
    `backend` is; keys that are few beside a device's queries, as a text's are, every device has all of.
    """
    if places(q) == RING:
        members = sharding.ring(q.shape[2])
        if places(k) == RING and k.shape[1] * members > q.shape[1]:
            return attend_in_ring(q, k, v, mask, members)
        return attend_plainly(constrain(q, *RING), *(constrain(x, "batch", None, "wide", None) for x in (k, v)), mask)
    q, k, v = (constrain(x, *AXES) for x in (q, k, v))
    if backend == "splash" and splash.fits(q, k, mask):
        if mask is None:
            return per_device(splash.attend, (AXES,) * 3, AXES, q, k, v)
        return per_device(splash.attend, (*(AXES,) * 3, (None, None)), AXES, q, k, v, mask)
    if backend == "cudnn" and q.dtype.itemsize == 2:
        mask = None if mask is None else by_token(mask, q, k)[None, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
    if backend == "by_head" and q.size // q.shape[-1] * k.shape[1] > AT_ONCE:
        given, axes = ((q, k, v), (AXES,) * 3) if mask is None else ((q, k, v, mask), (*(AXES,) * 3, (None, None)))
        return per_device(attend_by_head, axes, AXES, *given)
    return attend_plainly(q, k, v, mask)


def attend_in_ring(q, k, v, mask: Bool[Array, "f g"] | None, members: int) -> Float[Array, "b n heads d"]:
    """`ring.attend` along the mesh's axis of tokens."""

    def along(q, k, v, mask=None):
        return ring.attend(q, k, v, mask, "sequence", members)

    given, axes = ((q, k, v), (RING,) * 3) if mask is None else ((q, k, v, mask), (*(RING,) * 3, (None, None)))
    return per_device(along, axes, RING, *given, shape=q.shape)


def by_token(mask: Bool[Array, "f g"], q: Array, k: Array) -> Bool[Array, "n m"]:
    """A mask between frames as one between their tokens."""
    return jnp.repeat(jnp.repeat(mask, q.shape[1] // mask.shape[0], 0), k.shape[1] // mask.shape[1], 1)


def attend_plainly(q, k, v, mask: Bool[Array, "f g"] | None) -> Float[Array, "b n heads d"]:
    """The form that runs everywhere, with all logits in memory."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(by_token(mask, q, k), logits, jnp.finfo(wide).min)
    return jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(logits, axis=-1).astype(v.dtype), v)


def attend_by_head(q, k, v, mask: Bool[Array, "f g"] | None = None) -> Float[Array, "b n heads d"]:
    """The same, where only one head's logits exist at a time: the backward pass makes them anew.

    All of them together may be many times a CPU's cache, and memory that they have to themselves is slow to get.
    """
    batch, _, heads, _ = q.shape
    one = jax.checkpoint(lambda row: attend_plainly(*(x[None, :, None] for x in row), mask)[0, :, 0])
    rows = (x.swapaxes(1, 2).reshape(batch * heads, x.shape[1], x.shape[3]) for x in (q, k, v))
    found = jax.lax.map(one, tuple(rows))
    return found.reshape(batch, heads, *found.shape[1:]).swapaxes(1, 2)


def best_backend(platform: str) -> Backend:
    """The back end for devices of a platform, by JAX's name for it."""
    return {"cpu": "by_head", "tpu": "splash", "gpu": "cudnn", "cuda": "cudnn"}.get(platform, "xla")
