"""Numbers sample by sample, and the guard against samples with a number that is not finite.

Such a sample takes no part in an update and cannot spoil the others. Masking its loss is not enough, for in the
backward pass zero times NaN is NaN: it is replaced by zeros before it enters a network, and its loss is masked too.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mean(x: Float[Array, "b *s"]) -> Float[Array, " b"]:
    """Mean over everything but the batch, axis by axis: short float32 sums lose fewer digits than a long one."""
    while x.ndim > 1:
        x = x.mean(axis=-1)
    return x


def finite(*arrays: Float[Array, "b *s"]) -> Bool[Array, " b"]:
    """Which samples consist of finite numbers in all arrays."""
    return jnp.stack([jnp.isfinite(a).all(axis=tuple(range(1, a.ndim))) for a in arrays]).all(axis=0)


def neutral(keep: Bool[Array, " b"], tree: Any, axis: int = 0) -> Any:
    """Zeros for the samples that are not kept; `axis` is that of the batch in every array."""

    def one(a: Array) -> Array:
        shape = [1] * a.ndim
        shape[axis] = keep.shape[0]
        return jnp.where(keep.reshape(shape), a, 0)

    return jax.tree.map(one, tree)


def kept_mean(values: Float[Array, " b"], keep: Bool[Array, " b"]) -> Float[Array, ""]:
    """Mean over the kept samples, 0 if there are none."""
    return jnp.sum(jnp.where(keep, values, 0)) / jnp.maximum(jnp.sum(keep), 1)
