"""Gives a generated mouth the fine detail of the speaker's own: attention over the mouths that the source has shown.

What the autoencoder lost where nothing moved is known (`sampling/detail.py`). Where the mouth moved it is not, but the
same speaker has shown many mouths by then. Query is a patch of the generated mouth, keys are the patches at the same
place in earlier frames of the source, both as the decoder draws them, so that like is compared with like; values are
what it lost of the latter. Patches are compared by their pattern alone, since what a small network draws is paler than
a mouth. Frames of the chunk to be drawn and of the one before are left out: they resemble it by their place and light,
and their lips say what the source says at this moment. Where a clip has no others yet they have to do, since a smear is
worse, but must resemble the patch more.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

CHUNKS = 9
"""How many chunks are remembered, the one that is drawn among them: nearly four seconds before it."""
STRIDE = 2
"""Of so many frames one is remembered; the next one shows much the same."""
TOO_NEAR = 2
"""So many chunks, the one that is drawn among them, are not compared once there are others."""
CELLS = 16
"""Cells along one side of the aligned face; a patch has two by two of them, and the next one begins a cell further."""
MOUTH = (8, 16, 3, 13)
"""First and last row and column of cells that are remembered."""
SHARPNESS = 0.2
"""Spread of the attention over distances, as a share of the smallest: if nothing is like the patch, many take part."""
FAINT = 2 / 255
"""Patterns much weaker than this are noise, and alike to none."""
STRICT, NEAR_STRICT = 2, 6
"""Powers of a likeness by which its detail counts: of mouths some time ago, and of those that are too near. The square
of a correlation is the share of one pattern that the other explains."""
LUMINANCE = (0.299, 0.587, 0.114)
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of each cell within a patch."""


class Mouths(NamedTuple):
    """The mouths of the last chunks, of n frames that are remembered."""

    patterns: Float[Array, "b i j n d"]
    """Of the source's patches, as the decoder draws them."""
    lost: Float[Array, "b i2 j2 n k"]
    """What the decoder lost of the source, cell by cell."""
    chunk: Int[Array, ""]
    """How many chunks of the clip have been remembered, the one that is drawn among them."""


def mouths_of(batch: int, frames: int, size: int) -> Mouths:
    """A memory of nothing, for chunks of `frames` pictures of an aligned face of `size` pixels.

    Raises:
      ValueError: the face doesn't divide into cells, or the chunk into strides.
    """
    if size % CELLS or frames % STRIDE:
        raise ValueError(f"{frames} frames of {size} pixels can't be cut into {CELLS} cells and steps of {STRIDE}")
    top, bottom, left, right = MOUTH
    rows, columns, n, pixels = bottom - top, right - left, CHUNKS * frames // STRIDE, (size // CELLS) ** 2
    patterns = jnp.zeros((batch, rows - 1, columns - 1, n, 4 * pixels))
    return Mouths(patterns, jnp.zeros((batch, rows, columns, n, 3 * pixels)), jnp.zeros((), jnp.int32))


def forgotten(mouths: Mouths, first: Bool[Array, ""]) -> Mouths:
    """The memory as a new clip finds it, if this is its first chunk."""
    return mouths._replace(chunk=jnp.where(first, 0, mouths.chunk))


def recall(mouths: Mouths, generated: Float[Array, "b t s s 3"]) -> Float[Array, "b t s s 3"]:
    """The detail to be added to a chunk's generated frames, as the decoder drew them; 0 far from the mouth.

    It is the weaker, the less what is remembered looks like what was generated.

    Args:
      mouths: with this chunk remembered.
    """
    chex.assert_rank(generated, 5)
    size, cell, known = generated.shape[2], generated.shape[2] // CELLS, _known(mouths)
    alike = jnp.einsum("bijtd,bijnd->bijtn", _patterns(_cells(generated)), mouths.patterns)
    nearest = 1 - jnp.where(known, alike, -1).max(axis=-1, keepdims=True)
    weights = jax.nn.softmax(jnp.where(known, alike / (SHARPNESS * nearest + 1e-6), -1e9))
    strict = jnp.where(mouths.chunk > TOO_NEAR, STRICT, NEAR_STRICT)
    weights *= jnp.maximum((weights * alike).sum(axis=-1, keepdims=True), 0) ** strict
    quarters = jnp.einsum("bijqtn,bijnk->bijqtk", _quartered(weights, axis=3), mouths.lost)
    quarters = quarters.reshape(*quarters.shape[:-1], cell, cell, 3)
    detail = jnp.einsum("bijqtyxc,ijqyx->bijtyxc", quarters, _windows(cell))
    return _placed(detail, size)


def remember(
    mouths: Mouths, reconstruction: Float[Array, "b t s s 3"], source: Float[Array, "b t s s 3"]
) -> Mouths:
    """The memory with a chunk of the source and of what the decoder drew of it; the oldest chunk leaves it."""
    chex.assert_equal_shape([reconstruction, source])
    reconstruction, source = reconstruction[:, ::STRIDE], source[:, ::STRIDE]
    lost = _cells(source - reconstruction)
    begin = mouths.chunk % CHUNKS * source.shape[1]
    put = lambda held, new: jax.lax.dynamic_update_slice_in_dim(held, new, begin, axis=3)  # noqa: E731
    return Mouths(
        put(mouths.patterns, _patterns(_cells(reconstruction))),
        put(mouths.lost, lost.reshape(*lost.shape[:4], -1)),
        mouths.chunk + 1,
    )


def _known(mouths: Mouths) -> Bool[Array, " n"]:
    """Which of the remembered frames may be compared: those that aren't too near, or of those the farthest chunk."""
    frames = mouths.lost.shape[3]
    age = (mouths.chunk - 1 - jnp.arange(frames) // (frames // CHUNKS)) % CHUNKS
    return (age >= jnp.minimum(TOO_NEAR, mouths.chunk - 1)) & (age < mouths.chunk)


def _cells(frames: Float[Array, "b t s s 3"]) -> Float[Array, "b i j t y x 3"]:
    """The mouth's cells."""
    cell, (top, bottom, left, right) = frames.shape[2] // CELLS, MOUTH
    cells = frames.reshape(*frames.shape[:2], CELLS, cell, CELLS, cell, 3)[:, :, top:bottom, :, left:right]
    return cells.transpose(0, 2, 4, 1, 3, 5, 6)


def _placed(cells: Float[Array, "b i j t y x 3"], size: int) -> Float[Array, "b t s s 3"]:
    """A picture of nothing but the mouth's cells."""
    top, bottom, left, right = (edge * size // CELLS for edge in MOUTH)
    mouth = cells.transpose(0, 3, 1, 4, 2, 5, 6).reshape(cells.shape[0], cells.shape[3], bottom - top, right - left, 3)
    return jnp.pad(mouth, ((0, 0), (0, 0), (top, size - bottom), (left, size - right), (0, 0)))


def _patterns(cells: Float[Array, "b i j t y x 3"]) -> Float[Array, "b i2 j2 t d"]:
    """Luminance of every patch, without its mean and of length 1 where it is more than noise."""
    grey = (cells @ jnp.asarray(LUMINANCE, cells.dtype)).reshape(*cells.shape[:4], -1)
    rows, columns = grey.shape[1] - 1, grey.shape[2] - 1
    patches = jnp.concatenate([grey[:, y : y + rows, x : x + columns] for y, x in QUARTERS], axis=-1)
    patches = patches - patches.mean(axis=-1, keepdims=True)
    return patches / jnp.sqrt((patches**2).sum(axis=-1, keepdims=True) + patches.shape[-1] * FAINT**2)


def _quartered(of_patches: Float[Array, "b i j ..."], axis: int, xp=jnp) -> Float[Array, "b i2 j2 ..."]:
    """For every cell what belongs to its four patches, along a new axis; 0 for those beyond the border."""
    rest = [(0, 0)] * (of_patches.ndim - 3)
    return xp.stack([xp.pad(of_patches, [(0, 0), (y, 1 - y), (x, 1 - x), *rest]) for y, x in QUARTERS], axis=axis)


def _windows(cell: int) -> Float32[np.ndarray, "i j q y x"]:
    """The part of each of a cell's four patches in each of its pixels: less towards the patch's edges; 1 in sum."""
    half = np.hanning(2 * cell + 2)[1:-1].reshape(2, cell)
    top, bottom, left, right = MOUTH
    here = _quartered(np.ones((1, bottom - top - 1, right - left - 1)), axis=3, xp=np)[0]
    parts = here[..., None, None] * np.stack([half[y][:, None] * half[x] for y, x in QUARTERS])
    return (parts / parts.sum(axis=2, keepdims=True)).astype(np.float32)
