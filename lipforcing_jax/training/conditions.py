"""From the arrays of a batch to what the networks are told."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.sampling import steady_mouth


def steady_chunk(config) -> int | None:
    """The chunk at whose pace a run's networks are shown a steady mouth; None where they see it move."""
    return config.chunk if config.steady_mouth else None


def condition_of(
    batch: Batch, mask: Float[Array, "h w"], prompts: Float[Array, "p l d"], steady: int | None = None
) -> Condition:
    """The condition of a batch.

    Args:
      prompts: those of the data set, of which every clip has one.
      steady: latent frames of a chunk, where the source's mouth is held (`sampling/steady_mouth.py`).
    """
    source = jnp.asarray(batch.ref_sequence)
    return Condition(
        text=jnp.asarray(prompts)[batch.prompt],
        audio=jnp.asarray(batch.audio),
        ref_latent=jnp.asarray(batch.ref_latent),
        masked_video=jnp.asarray(batch.masked_video),
        ref_sequence=source if steady is None else steady_mouth.hold(source, steady),
        mask=mask,
    )
