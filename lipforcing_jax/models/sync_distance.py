"""How well a mouth fits a sound, and at which shift: Sync-C and Sync-D (spec training 3.4).

Distances of SyncNet's embeddings are averaged over time for every shift of the sound. Two forms exist: the reward's
scorer leaves out what has no partner; the published evaluation measures it against zeros. Values of one form do not
compare with those of the other.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MAX_SHIFT = 15
"""Video frames, in both directions."""


class SyncScore(NamedTuple):
    """What the distances over all shifts say about a clip."""

    confidence: Float[Array, ""]
    """Sync-C, the median distance minus the smallest: higher is better."""
    distance: Float[Array, ""]
    """Sync-D, the smallest distance: lower is better."""
    shift: Int[Array, ""]
    """Frames by which the best-fitting sound is later than the mouth; the published evaluation's offset is -shift."""


def shift_distances(
    faces: Float[Array, "n e"], sounds: Float[Array, "m e"], max_shift: int = MAX_SHIFT, *, zero_padded: bool = False
) -> Float[Array, " shifts"]:
    """Mean distance of `faces[i]` and `sounds[i + s]` for s = -max_shift ... max_shift.

    The longer sequence is cut to the shorter. `zero_padded` is the published evaluation's form: all faces count, and
    past the ends of the sound they are compared with zeros.

    Raises:
      ValueError: no pair is left at the largest shift, so that its mean does not exist.
    """
    pairs = min(faces.shape[0], sounds.shape[0])
    if pairs < (1 if zero_padded else max_shift + 1):
        raise ValueError(f"{pairs} windows are too few for shifts of up to {max_shift} frames")
    at = jnp.arange(pairs) + jnp.arange(-max_shift, max_shift + 1)[:, None]
    inside = (at >= 0) & (at < pairs)
    partners = jnp.where(inside[..., None], sounds[jnp.clip(at, 0, pairs - 1)], 0)
    # The reference adds 1e-6 to every component; it also keeps the gradient finite where both are equal.
    apart = jnp.linalg.norm(faces[:pairs] - partners + 1e-6, axis=-1)
    counted = jnp.ones_like(inside) if zero_padded else inside
    return jnp.sum(apart, axis=1, where=counted) / jnp.sum(counted, axis=1)


def score(distances: Float[Array, " shifts"]) -> SyncScore:
    """Sync-C, Sync-D and the shift by the mean distances of all shifts, an odd number."""
    middle = distances.shape[0] // 2
    least = jnp.min(distances)
    return SyncScore(jnp.sort(distances)[middle] - least, least, jnp.argmin(distances) - middle)
