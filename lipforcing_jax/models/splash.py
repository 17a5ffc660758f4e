"""Attention on TPUs by JAX's splash kernel: logits exist tile by tile, and tiles that nobody may see are left out.

A frame is a whole number of tiles, so a mask between frames says of every tile whether all of it is seen or nothing.
This is all that the kernel is told; the mask may change from call to call, as a stream's memory fills or a training
draws its window, without another program.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo
from jaxtyping import Array, Bool, Float

LANES = 128
LARGEST_TILE = 512
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)


def tile(length: int) -> int | None:
    """The largest number of tokens in a tile of a sequence, or of a frame; None if the kernel can't cut it."""
    sizes = range(LARGEST_TILE, 0, -LANES)
    return next((size for size in sizes if length % size == 0), None)


def tiles(q: Array, k: Array, mask: Array | None) -> tuple[int | None, int | None]:
    """Tokens of a tile of the queries and of the keys."""
    frames = (1, 1) if mask is None else mask.shape
    return tuple(tile(x.shape[1] // count) for x, count in zip((q, k), frames, strict=True))


def fits(q: Float[Array, "b n heads d"], k: Float[Array, "b m heads d"], mask: Bool[Array, "f g"] | None) -> bool:
    """Whether the kernel can tile these shapes."""
    return q.shape[-1] % LANES == 0 and None not in tiles(q, k, mask)


def attend(
    q: Float[Array, "b n heads d"],
    k: Float[Array, "b m heads d"],
    v: Float[Array, "b m heads d"],
    mask: Bool[Array, "f g"] | None = None,
    *,
    interpret: bool = False,
) -> Float[Array, "b n heads d"]:
    """As `models.attention.attend`. `interpret` runs the kernel's program without a TPU, for tests."""
    rows, columns = tiles(q, k, mask)
    info, transposed = (tile_visibility(q.shape[1] // rows, k.shape[1] // columns, mask, by_key) for by_key in (0, 1))
    sizes = kernel.BlockSizes(
        block_q=rows, block_kv=columns, block_q_dkv=rows, block_kv_dkv=columns, block_q_dq=rows, block_kv_dq=columns
    )
    one = kernel.SplashAttentionKernel(
        info, info, transposed, block_sizes=sizes, is_mqa=False, save_residuals=False, mask_value=MASKED,
        attn_logits_soft_cap=None, residual_checkpoint_name=None, mask_function=None, interpret=interpret,
    )  # fmt: skip
    scaled = (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)
    return jax.vmap(one)(*(x.swapaxes(1, 2) for x in (scaled, k, v))).swapaxes(1, 2)


def tile_visibility(rows: int, columns: int, mask: Bool[Array, "f g"] | None, by_key: bool) -> MaskInfo:
    """What the kernel is told of `rows` x `columns` tiles: which are seen, and which to fetch.

    Args:
      by_key: for the gradient of keys and values, which walks along the queries.
    """
    if mask is None:
        return MaskInfo(None, None, None, None, None)
    seen = jnp.repeat(jnp.repeat(mask, rows // mask.shape[0], 0), columns // mask.shape[1], 1)
    along = jnp.arange(rows)[:, None] if by_key else jnp.arange(columns)[None, :]
    fetched, state = jnp.where(seen, along, 0), jnp.where(seen, 2, 0)
    return MaskInfo(fetched[None].astype(jnp.int32), None, state[None].astype(jnp.int32), None, None)
