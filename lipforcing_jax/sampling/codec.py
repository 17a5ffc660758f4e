"""How a stream's pictures become latents and latents pictures, one chunk at a time.

Pictures are [b, t, s, s, 3] in [0, 1], four to a latent frame; a clip begins with three copies of its first frame
(`sampling.plan.LEAD`). The memory of both directions is an explicit value, carried from chunk to chunk. Whatever an
autoencoder computes in, pictures and latents are float32 outside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lipforcing_jax.models import tiny_vae, wan_vae
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.models.wan_vae import GROUP, WanVAE
from lipforcing_jax.sampling.plan import LEAD


class Codec(Protocol):
    """An autoencoder as the stream uses it. `first` tells the clip's first chunk from later ones."""

    def encoder_memory(self, batch: int, size: int) -> Any:
        """Memory before the first frame of `batch` streams of `size` x `size` pixels."""

    def decoder_memory(self, batch: int, cells: int) -> Any:
        """Memory before the first latent of `batch` streams of `cells` x `cells` latent cells."""

    def encode(self, pixels: Float[Array, "b t s s 3"], memory, first: Bool[Array, ""]):
        """Latents [b, t / 4, h, w, c] of one chunk and the memory after it."""

    def decode(self, latents: Float[Array, "b t h w c"], memory, first: Bool[Array, ""]):
        """Pictures [b, 4 t, s, s, 3] of one chunk and the memory after it."""


class TinyCodec(NamedTuple):
    """The tiny autoencoder both ways. Its first chunk is like any other: the lead-in fills it."""

    vae: TinyVAE

    def encoder_memory(self, batch: int, size: int) -> tiny_vae.Memory:
        return self.vae.encoder.memory(batch, size, size, self.vae.dtype)

    def decoder_memory(self, batch: int, cells: int) -> tiny_vae.Memory:
        return self.vae.decoder.memory(batch, cells, cells, self.vae.dtype)

    def encode(self, pixels: Float[Array, "b t s s 3"], memory: tiny_vae.Memory, first):
        latents, memory = self.vae.encode(pixels.astype(self.vae.dtype), memory)
        return latents.astype(pixels.dtype), memory

    def decode(self, latents: Float[Array, "b t h w c"], memory: tiny_vae.Memory, first):
        frames, memory = self.vae.decode(latents.astype(self.vae.dtype), memory)
        return frames.astype(latents.dtype), memory


class WanCodec(NamedTuple):
    """The Wan autoencoder both ways, one latent frame at a time: a clip's first stands for one video frame.

    The lead-in is not shown to it, and where its pictures would be, copies of the first frame come back.
    """

    vae: WanVAE

    def encoder_memory(self, batch: int, size: int) -> wan_vae.Memory:
        return self.vae.encoder.memory(batch, size, size, self.vae.dtype)

    def decoder_memory(self, batch: int, cells: int) -> wan_vae.Memory:
        return self.vae.decoder.memory(batch, cells, cells, self.vae.dtype)

    def encode(self, pixels: Float[Array, "b t s s 3"], memory: wan_vae.Memory, first):
        def lone(group, memory):
            return self.vae.encode(group[:, LEAD:], memory, True)

        def full(group, memory):
            return self.vae.encode(group, memory, False)

        groups = _split(2 * pixels.astype(self.vae.dtype) - 1, GROUP)
        latents, memory = _one_by_one(lone, full, groups, memory, first)
        return latents.astype(pixels.dtype), memory

    def decode(self, latents: Float[Array, "b t h w c"], memory: wan_vae.Memory, first):
        def lone(part, memory):
            frame, memory = self.vae.decode(part, memory, True)
            return jnp.repeat(frame, GROUP, axis=1), memory

        def full(part, memory):
            return self.vae.decode(part, memory, False)

        frames, memory = _one_by_one(lone, full, _split(latents.astype(self.vae.dtype), 1), memory, first)
        return jnp.clip(0.5 + 0.5 * frames, 0, 1).astype(latents.dtype), memory


class PairedCodec(NamedTuple):
    """One autoencoder sees and another one draws: Wan's latents by the much cheaper tiny decoder."""

    eye: Codec
    hand: Codec

    def encoder_memory(self, batch: int, size: int):
        return self.eye.encoder_memory(batch, size)

    def decoder_memory(self, batch: int, cells: int):
        return self.hand.decoder_memory(batch, cells)

    def encode(self, pixels: Float[Array, "b t s s 3"], memory, first):
        return self.eye.encode(pixels, memory, first)

    def decode(self, latents: Float[Array, "b t h w c"], memory, first):
        return self.hand.decode(latents, memory, first)


def _one_by_one(lone: Callable, full: Callable, parts: Float[Array, "n b t h w c"], memory, first: Bool[Array, ""]):
    """`full` of every part in turn, but `lone` of a clip's very first: what comes of them, joined, and the memory.

    Both stand in the scan's body, once, since each takes a compiler minutes at the size of the release.
    """

    def one(memory, given):
        part, opens = given
        made, memory = jax.lax.cond(opens, lone, full, part, memory)
        return memory, made

    memory, made = jax.lax.scan(one, memory, (parts, first & (jnp.arange(parts.shape[0]) == 0)))
    return _join(made), memory


def _split(frames: Float[Array, "b t h w c"], group: int) -> Float[Array, "n b group h w c"]:
    return frames.reshape(frames.shape[0], -1, group, *frames.shape[2:]).swapaxes(0, 1)


def _join(groups: Float[Array, "n b group h w c"]) -> Float[Array, "b t h w c"]:
    return groups.swapaxes(0, 1).reshape(groups.shape[1], -1, *groups.shape[3:])
