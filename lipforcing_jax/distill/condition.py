"""What teacher, student and critic are told about a clip, and their x0 predictions (spec training 2.2)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipforcing_jax import flow
from lipforcing_jax.distill import per_sample
from lipforcing_jax.models.conditioning import condition_channels
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.remat import Remat
from lipforcing_jax.sampling.causal import ChunkCondition


class Condition(NamedTuple):
    """A batch of clips without the target: text embeddings, grouped sound, and the source's latents.

    `mask` (1 keep, 0 generate) is shared by the batch. `ref_latent` is the target's clean first latent frame.
    """

    text: Float[Array, "b l d"]
    audio: Float[Array, "b t 4a"]
    ref_latent: Float[Array, "b 1 h w c"]
    masked_video: Float[Array, "b t h w c"]
    ref_sequence: Float[Array, "b t h w c"]
    mask: Float[Array, "h w"]

    def negative(self, text: Float[Array, "1 l d"]) -> "Condition":
        """The condition that guidance leads away from: another text, features of sound all zero, the same picture."""
        return self._replace(text=jnp.broadcast_to(text, self.text.shape), audio=jnp.zeros_like(self.audio))

    def channels(self) -> Float[Array, "b t h w y"]:
        return condition_channels(self.ref_latent, self.mask, self.masked_video, self.ref_sequence)

    def finite(self) -> Bool[Array, " b"]:
        """Which samples consist of finite numbers."""
        return per_sample.finite(*self[:-1])

    def neutral(self, keep: Bool[Array, " b"]) -> "Condition":
        """Zeros in place of the samples that are not kept."""
        return Condition(*per_sample.neutral(keep, self[:-1]), self.mask)

    def chunks(self, length: int) -> ChunkCondition:
        """The clip cut into chunks of `length` latent frames, on a new leading axis."""
        masked, reference, audio = (by_chunk(a, length) for a in (self.masked_video, self.ref_sequence, self.audio))
        first = jnp.broadcast_to(self.ref_latent, (masked.shape[0], *self.ref_latent.shape))
        return ChunkCondition(first, masked, reference, audio)


def by_chunk(frames: Float[Array, "b t *s"], length: int) -> Float[Array, "n b chunk *s"]:
    """Cuts the frame axis into chunks, which lead.

    Raises:
      ValueError: the frames don't fill whole chunks.
    """
    batch, total = frames.shape[:2]
    if total % length:
        raise ValueError(f"{total} latent frames do not divide into chunks of {length}")
    return frames.reshape(batch, -1, length, *frames.shape[2:]).swapaxes(0, 1)


def join_chunks(chunks: Float[Array, "n b chunk *s"]) -> Float[Array, "b t *s"]:
    """The inverse of `by_chunk`."""
    return chunks.swapaxes(0, 1).reshape(chunks.shape[1], -1, *chunks.shape[3:])


def predict_x0(
    model: DiT, x_t: Float[Array, "b t h w c"], t: Float[Array, " b"], condition: Condition, *, remat: Remat = False
) -> Float[Array, "b t h w c"]:
    """x0 as a bidirectional network sees it, all frames at the one level of their sample."""
    level = t[:, None]
    velocity, _ = model(
        x_t, condition.channels(), level, model.text_keys(condition.text), condition.audio,
        positions=jnp.arange(x_t.shape[1]), remat=remat,
    )  # fmt: skip
    return flow.flow_to_x0(x_t, velocity, level)
