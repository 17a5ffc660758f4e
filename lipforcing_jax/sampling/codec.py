"""How a stream's pictures become latents and latents pictures, one chunk at a time.

Pictures are [b, t, s, s, 3] in [0, 1], four to a latent frame; a clip begins with three copies of its first frame
(`sampling.plan.LEAD`). The memory of both directions is an explicit value, carried from chunk to chunk.
"""

from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Bool, Float

from lipforcing_jax.models.tiny_vae import Memory, TinyVAE


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

    def encoder_memory(self, batch: int, size: int) -> Memory:
        return self.vae.encoder.memory(batch, size, size)

    def decoder_memory(self, batch: int, cells: int) -> Memory:
        return self.vae.decoder.memory(batch, cells, cells)

    def encode(self, pixels: Float[Array, "b t s s 3"], memory: Memory, first):
        return self.vae.encode(pixels, memory)

    def decode(self, latents: Float[Array, "b t h w c"], memory: Memory, first):
        return self.vae.decode(latents, memory)
