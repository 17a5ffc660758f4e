"""From the arrays of a batch to what the networks are told."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill.condition import Condition


def condition_of(batch: Batch, mask: Float[Array, "h w"], prompts: Float[Array, "p l d"]) -> Condition:
    """The condition of a batch; `prompts` are the data set's, of which every clip has one."""
    return Condition(
        text=jnp.asarray(prompts)[batch.prompt],
        audio=jnp.asarray(batch.audio),
        ref_latent=jnp.asarray(batch.ref_latent),
        masked_video=jnp.asarray(batch.masked_video),
        ref_sequence=jnp.asarray(batch.ref_sequence),
        mask=mask,
    )
