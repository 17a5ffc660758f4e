"""What a backward pass recomputes of a block in place of having kept it."""

from collections.abc import Callable

import jax

from lipforcing_jax.errors import UserError

Remat = bool | str | Callable
"""A name of `POLICIES`; True for "full" and False for "none"; or a function that is applied to a block's function."""

POLICIES = ("none", "dots", "full")
"""From most memory and least work to least memory and most work.

"none" keeps every activation; "dots" the results of linear layers and recomputes what lies between them, attention
included; "full" keeps only what enters the block.
"""


def recomputed(block: Callable, remat: Remat) -> Callable:
    """`block` under a policy; its results and gradients are the same under all of them.

    Raises:
      UserError: there is no policy of that name.
    """
    if callable(remat):
        return remat(block)
    if remat in (True, "full"):
        return jax.checkpoint(block)
    if remat in (False, "none"):
        return block
    if remat == "dots":
        # Of products only those with no batch: logits of attention would be larger than everything else together.
        return jax.checkpoint(block, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    raise UserError(f"Unknown remat={remat!r}; choose one of {', '.join(POLICIES)}.")
