"""Attention over tokens that devices share: keys and values go round the devices, queries stay.

The form for meshes on which heads are too few to be exchanged for tokens (`models.attention`). A device works on its
own queries and, one after the other, on everybody's keys; the softmax is put together from the pieces in float32. The
backward pass sends keys and values round once more, and their gradients with them: no device ever holds those of all.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Sums(NamedTuple):
    """A softmax over the keys met so far: largest logit, sum of exponentials, and values weighed by these."""

    top: Float[Array, "b heads n"]
    total: Float[Array, "b heads n"]
    values: Float[Array, "b n heads d"]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def attend(
    q: Float[Array, "b n heads d"],
    k: Float[Array, "b m heads d"],
    v: Float[Array, "b m heads d"],
    mask: Bool[Array, "f g"] | None,
    axis: str,
    members: int,
) -> Float[Array, "b n heads d"]:
    """As `models.attention.attend`, run by each of `members` devices along the mesh axis `axis`.

    Args:
      q, k, v: the device's own tokens, `1 / members` of the whole in order.
      mask: the whole one, the same on every device. A frame need not end where a device's tokens do.
    """
    return _forward(q, k, v, mask, axis, members)[0]


def _forward(q, k, v, mask, axis: str, members: int):
    wide = jnp.promote_types(q.dtype, jnp.float32)
    rows = (q.shape[0], q.shape[2], q.shape[1])
    sums = Sums(jnp.full(rows, -jnp.inf, wide), jnp.zeros(rows, wide), jnp.zeros(q.shape, wide))
    sums = absorb(sums, q, k, v, visible(mask, q, k, 0, axis, members))

    def one(carried, i):
        kv, sums = carried
        kv = onward(kv, axis, members)
        return (kv, absorb(sums, q, *kv, visible(mask, q, k, i, axis, members))), None

    (_, sums), _ = jax.lax.scan(one, ((k, v), sums), jnp.arange(1, members))
    out = sums.values / _by_row(sums.total)
    return out.astype(v.dtype), (q, k, v, mask, out, sums.top, sums.total)


def _backward(axis: str, members: int, kept, pull):
    q, k, v, mask, out, top, total = kept
    wide, scale = out.dtype, q.shape[-1] ** -0.5
    along = jnp.einsum("bnhd,bnhd->bhn", pull.astype(wide), out)
    product = partial(jnp.einsum, preferred_element_type=wide)

    def one(carried, i):
        (k, v), (dk, dv), dq = carried
        seen = visible(mask, q, k, i, axis, members)
        weights = jnp.exp(logits_of(q, k, seen) - top[..., None]) / total[..., None]
        slopes = weights * (product("bnhd,bmhd->bhnm", pull, v) - along[..., None])
        slopes = (slopes if seen is None else jnp.where(seen, slopes, 0)).astype(q.dtype)
        dq = dq + scale * product("bhnm,bmhd->bnhd", slopes, k)
        dk = dk + scale * product("bhnm,bnhd->bmhd", slopes, q)
        dv = dv + product("bhnm,bnhd->bmhd", weights.astype(v.dtype), pull)
        return (*onward(((k, v), (dk, dv)), axis, members), dq), None

    start = ((k, v), (jnp.zeros(k.shape, wide), jnp.zeros(v.shape, wide)), jnp.zeros(q.shape, wide))
    # After as many moves as there are devices everything is at home again.
    (_, (dk, dv), dq), _ = jax.lax.scan(one, start, jnp.arange(members))
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None


attend.defvjp(_forward, _backward)


def absorb(sums: Sums, q, k, v, seen: Bool[Array, "n m"] | None) -> Sums:
    """The softmax with some more keys in it."""
    logits = logits_of(q, k, seen)
    top = jnp.maximum(sums.top, jnp.max(logits, axis=-1))
    weights, fading = jnp.exp(logits - top[..., None]), jnp.exp(sums.top - top)
    values = jnp.einsum("bhnm,bmhd->bnhd", weights.astype(v.dtype), v, preferred_element_type=logits.dtype)
    return Sums(top, sums.total * fading + jnp.sum(weights, axis=-1), sums.values * _by_row(fading) + values)


def logits_of(q, k, seen: Bool[Array, "n m"] | None) -> Float[Array, "b heads n m"]:
    """Scaled products; the lowest number, as in the unsharded form, where nothing is seen."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    return logits if seen is None else jnp.where(seen, logits, jnp.finfo(wide).min)


def visible(mask, q, k, moves: Int[Array, ""] | int, axis: str, members: int) -> Bool[Array, "n m"] | None:
    """Which of the keys that have moved so often this device's queries may see."""
    if mask is None:
        return None
    here = jax.lax.axis_index(axis)
    places = (here, (here - moves) % members)
    frames = (
        (place * x.shape[1] + jnp.arange(x.shape[1])) // (x.shape[1] * members // count)
        for place, x, count in zip(places, (q, k), mask.shape, strict=True)
    )
    return mask[jnp.ix_(*frames)]


def onward(tree, axis: str, members: int):
    """Every device gives what it has to the next one."""
    return jax.lax.ppermute(tree, axis, [(i, (i + 1) % members) for i in range(members)])


def _by_row(x: Float[Array, "b heads n"]) -> Float[Array, "b n heads 1"]:
    return x.swapaxes(1, 2)[..., None]
