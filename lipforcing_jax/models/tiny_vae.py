"""TAEHV, the tiny causal video autoencoder (spec inference 6.7), for any widths.

One function serves the whole clip and the stream: it takes the memory of every block and returns the memory after the
last frame. Zeros are the memory of a stream that has not begun. Pixels are channels-last in [0, 1]; latents are the
diffusion latents themselves, with no further mean or scale.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.models.presets import TinyVAEConfig

Memory = tuple[Float[Array, "b h w c"], ...]
"""The last feature map that each memory block has seen, in the order of the blocks."""


def conv(width_in: int, width_out: int, *, kernel: int = 3, stride: int = 1, bias: bool = True, **kinds) -> nnx.Conv:
    """A spatial convolution with PyTorch's symmetric padding."""
    pad = kernel // 2
    return nnx.Conv(
        width_in, width_out, (kernel, kernel), strides=stride, padding=((pad, pad), (pad, pad)), use_bias=bias, **kinds
    )


def per_frame(layer, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 c2"]:
    """Runs a picture layer on every frame."""
    y = layer(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


class MemoryBlock(nnx.Module):
    """Three convolutions over a frame and its predecessor at this depth, plus a skip."""

    def __init__(self, width: int, **kinds):
        self.conv1 = conv(2 * width, width, **kinds)
        self.conv2, self.conv3 = conv(width, width, **kinds), conv(width, width, **kinds)

    def __call__(self, x: Float[Array, "b t h w c"], memory: Float[Array, "b h w c"]):
        previous = jnp.concatenate([memory[:, None], x[:, :-1]], axis=1)
        y = jax.nn.relu(per_frame(self.conv1, jnp.concatenate([x, previous], axis=-1)))
        y = jax.nn.relu(per_frame(self.conv2, y))
        return jax.nn.relu(per_frame(self.conv3, y) + x), x[:, -1]


class TimePool(nnx.Module):
    """Folds `stride` frames into one by a 1x1 convolution over their stacked channels, earlier frames first."""

    def __init__(self, width: int, stride: int, **kinds):
        self.stride = stride
        self.conv = conv(width * stride, width, kernel=1, bias=False, **kinds)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h w c"]:
        b, t, h, w, c = x.shape
        x = x.reshape(b, t // self.stride, self.stride, h, w, c).transpose(0, 1, 3, 4, 2, 5)
        return per_frame(self.conv, x.reshape(b, t // self.stride, h, w, self.stride * c))


class TimeGrow(nnx.Module):
    """Unfolds one frame into `stride`, in order of the channel groups."""

    def __init__(self, width: int, stride: int, **kinds):
        self.stride = stride
        self.conv = conv(width, width * stride, kernel=1, bias=False, **kinds)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h w c"]:
        b, t, h, w, c = x.shape
        y = per_frame(self.conv, x).reshape(b, t, h, w, self.stride, c)
        return y.transpose(0, 1, 4, 2, 3, 5).reshape(b, t * self.stride, h, w, c)


def space_to_depth(x: Float[Array, "b t h w c"], factor: int) -> Float[Array, "b t h2 w2 c2"]:
    """PyTorch's pixel-unshuffle: channel-major patches."""
    b, t, h, w, c = x.shape
    x = x.reshape(b, t, h // factor, factor, w // factor, factor, c).transpose(0, 1, 2, 4, 6, 3, 5)
    return x.reshape(b, t, h // factor, w // factor, c * factor * factor)


def depth_to_space(x: Float[Array, "b t h w c"], factor: int) -> Float[Array, "b t h2 w2 c2"]:
    """The inverse of `space_to_depth`."""
    b, t, h, w, c = x.shape
    x = x.reshape(b, t, h, w, c // factor**2, factor, factor).transpose(0, 1, 2, 5, 3, 6, 4)
    return x.reshape(b, t, h * factor, w * factor, c // factor**2)


def run_blocks(blocks, x, memory: list) -> tuple[Array, list]:
    """A stage's memory blocks in order; takes their memories from the front of the list."""
    kept = []
    for block in blocks:
        x, last = block(x, memory.pop(0))
        kept.append(last)
    return x, kept


class TinyEncoder(nnx.Module):
    """Groups of four frames to one latent frame. The first frame of a stream counts as a group: see `lead_in`."""

    def __init__(self, cfg: TinyVAEConfig, **kinds):
        self.cfg = cfg
        widths = (cfg.encoder_stem, *cfg.encoder_widths)
        kernel = cfg.encoder_kernel
        self.stem = conv(cfg.image_channels * cfg.patch_size**2, widths[0], kernel=kernel, **kinds)
        strides = [2 if down else 1 for down in cfg.encoder_time_downscale]
        spaces = [2 if down else 1 for down in cfg.encoder_space_downscale]
        self.pools = nnx.List([TimePool(w, s, **kinds) for w, s in zip(widths[:-1], strides, strict=True)])
        self.downs = nnx.List(
            [
                conv(a, b, kernel=kernel, stride=s, bias=False, **kinds)
                for a, b, s in zip(widths, widths[1:], spaces, strict=False)
            ]
        )
        self.stages = nnx.List(
            [nnx.List([MemoryBlock(w, **kinds) for _ in range(cfg.encoder_blocks)]) for w in cfg.encoder_widths]
        )
        self.head = conv(widths[-1], cfg.latent_channels, kernel=kernel, **kinds)

    def memory(self, batch: int, height: int, width: int, dtype=jnp.float32) -> Memory:
        """Empty memory for frames of `height` x `width` pixels."""
        factor, shapes = self.cfg.patch_size, []
        for channels, down in zip(self.cfg.encoder_widths, self.cfg.encoder_space_downscale, strict=True):
            factor *= 2 if down else 1
            shapes += [(batch, height // factor, width // factor, channels)] * self.cfg.encoder_blocks
        return tuple(jnp.zeros(shape, dtype) for shape in shapes)

    def __call__(
        self, frames: Float[Array, "b t h w 3"], memory: Memory
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Memory]:
        """Encodes `frames`, a multiple of four, in [0, 1]."""
        left, kept = list(memory), []
        x = jax.nn.relu(per_frame(self.stem, space_to_depth(frames, self.cfg.patch_size)))
        for pool, down, stage in zip(self.pools, self.downs, self.stages, strict=True):
            x, last = run_blocks(stage, per_frame(down, pool(x)), left)
            kept += last
        return per_frame(self.head, x), tuple(kept)


class TinyDecoder(nnx.Module):
    """One latent frame to four frames; the first three of a stream belong to the lead-in and are dropped."""

    def __init__(self, cfg: TinyVAEConfig, **kinds):
        self.cfg = cfg
        widths = (*cfg.decoder_widths, cfg.decoder_tail)
        self.stem = conv(cfg.latent_channels, widths[0], **kinds)
        self.stages = nnx.List(
            [nnx.List([MemoryBlock(w, **kinds) for _ in range(cfg.decoder_blocks)]) for w in cfg.decoder_widths]
        )
        strides = [2 if up else 1 for up in cfg.decoder_time_upscale]
        self.grows = nnx.List([TimeGrow(w, s, **kinds) for w, s in zip(widths[:-1], strides, strict=True)])
        kernels = [3] * (len(widths) - 2) + [cfg.head_kernel]
        self.outs = nnx.List(
            [
                conv(a, b, kernel=kernel, bias=False, **kinds)
                for a, b, kernel in zip(widths, widths[1:], kernels, strict=False)
            ]
        )
        self.head = conv(widths[-1], cfg.image_channels * cfg.patch_size**2, kernel=cfg.head_kernel, **kinds)

    def memory(self, batch: int, height: int, width: int, dtype=jnp.float32) -> Memory:
        """Empty memory for latents of `height` x `width` cells."""
        factor, shapes = 1, []
        for channels, up in zip(self.cfg.decoder_widths, self.cfg.decoder_space_upscale, strict=True):
            shapes += [(batch, height * factor, width * factor, channels)] * self.cfg.decoder_blocks
            factor *= 2 if up else 1
        return tuple(jnp.zeros(shape, dtype) for shape in shapes)

    def __call__(
        self, latents: Float[Array, "b t h w c"], memory: Memory
    ) -> tuple[Float[Array, "b t4 h8 w8 3"], Memory]:
        """Decodes to frames that are not yet clamped to [0, 1]."""
        left, kept = list(memory), []
        x = jax.nn.relu(per_frame(self.stem, 3 * jnp.tanh(latents / 3)))
        for stage, grow, out, up in zip(
            self.stages, self.grows, self.outs, self.cfg.decoder_space_upscale, strict=True
        ):
            x, last = run_blocks(stage, x, left)
            kept += last
            if up:
                x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
            x = per_frame(out, grow(x))
        return depth_to_space(per_frame(self.head, jax.nn.relu(x)), self.cfg.patch_size), tuple(kept)


class TinyVAE(nnx.Module):
    """Encoder and decoder with one set of sizes."""

    def __init__(self, cfg: TinyVAEConfig, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg, self.dtype = cfg, dtype or param_dtype
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.encoder, self.decoder = TinyEncoder(cfg, **kinds), TinyDecoder(cfg, **kinds)

    def encode(self, frames: Float[Array, "b t h w 3"], memory: Memory | None = None):
        """Latents of `frames` [b, 4n, h, w, 3] and the memory after them."""
        if memory is None:
            memory = self.encoder.memory(frames.shape[0], *frames.shape[2:4], frames.dtype)
        return self.encoder(frames, memory)

    def decode(self, latents: Float[Array, "b t h w c"], memory: Memory | None = None):
        """Frames of `latents` clamped to [0, 1], four per latent frame, and the memory after them."""
        if memory is None:
            memory = self.decoder.memory(latents.shape[0], *latents.shape[2:4], latents.dtype)
        frames, memory = self.decoder(latents, memory)
        return jnp.clip(frames, 0.0, 1.0), memory


def lead_in(frames: Float[Array, "b t h w 3"]) -> Float[Array, "b t3 h w 3"]:
    """Puts three copies of the first frame before a clip, so that 4n - 3 frames fill n latents (spec inference 6.7)."""
    return jnp.concatenate([jnp.repeat(frames[:, :1], 3, axis=1), frames], axis=1)
