"""Three-axis rotary position embedding of the Wan DiT (spec network 2)."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

THETA = 10000.0
MAX_POSITIONS = 1024


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Complex pairs that turn with time, height and width: 22, 21, 21 for a head of 128 (spec network 2.1).

    Raises:
      ValueError: when the widths of the axes are not even, since a pair cannot be split.
    """
    spatial = head_dim // 3
    temporal = head_dim - 2 * spatial
    if spatial % 2 or temporal % 2:
        widths = f"{temporal}, {spatial}, {spatial}"
        raise ValueError(f"head_dim {head_dim} splits into axis widths {widths}; all must be even")
    return temporal // 2, spatial // 2, spatial // 2


@lru_cache
def _axis_angles(pairs: int) -> np.ndarray:
    """Angles [MAX_POSITIONS, pairs] in float64; every axis uses its own width in the exponent."""
    frequencies = THETA ** (-np.arange(pairs) / pairs)
    return np.arange(MAX_POSITIONS)[:, None] * frequencies


def rotation(
    frame_positions: Int[Array, " t"], height: int, width: int, head_dim: int, dtype: jnp.dtype
) -> Float[Array, "2 tokens pairs"]:
    """Cosine and sine for every token of `t` frames of a `height` x `width` patch grid.

    `frame_positions` may be traced: the window-local position of a frame depends on the chunk. The tables are
    built on the host in float64 and only then rounded to `dtype` (spec network, trap 27).
    """
    temporal, rows, columns = axis_pairs(head_dim)
    shape = (frame_positions.shape[0], height, width)

    def lookup(fn):
        time = jnp.asarray(fn(_axis_angles(temporal)), dtype)[frame_positions][:, None, None, :]
        row = jnp.asarray(fn(_axis_angles(rows)[:height]), dtype)[None, :, None, :]
        column = jnp.asarray(fn(_axis_angles(columns)[:width]), dtype)[None, None, :, :]
        parts = [jnp.broadcast_to(a, (*shape, a.shape[-1])) for a in (time, row, column)]
        return jnp.concatenate(parts, axis=-1).reshape(-1, head_dim // 2)

    return jnp.stack([lookup(np.cos), lookup(np.sin)])


def rotate(x: Float[Array, "b n heads d"], table: Float[Array, "2 n pairs"]) -> Float[Array, "b n heads d"]:
    """Turns interleaved channel pairs (2r, 2r+1) of every head by the token's angles; result in the dtype of `x`."""
    cos, sin = table[0][None, :, None, :], table[1][None, :, None, :]
    pairs = x.astype(table.dtype).reshape(*x.shape[:-1], -1, 2)
    real, imaginary = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)


def rope_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Rotations run in float32, or in float64 when the activations are float64."""
    return jax.numpy.promote_types(dtype, jnp.float32)
