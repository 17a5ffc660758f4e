"""The Wan 2.1 video autoencoder (spec inference 6.1 to 6.5), for any widths.

One function serves the whole clip and the stream: it takes the memory of every causal layer and returns the memory
after the last frame; zeros are the memory of a stream that has not begun. The first frame of a stream stands alone and
makes the first latent frame by itself; after it, four frames make one. Both forms exist as `first=True` and
`first=False` because the layers that change the frame rate pass the lone frame by. Pixels are channels-last in
[-1, 1]; latents are normalised by the channels' mean and spread, as the diffusion network sees them.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jaxtyping import Array, Float

from lipforcing_jax.models.presets import WanVAEConfig
from lipforcing_jax.models.tiny_vae import conv, per_frame

Memory = tuple[Float[Array, "b t h w c"], ...]
"""What each causal layer remembers, in the order of the layers: 24 arrays in the encoder, 32 in the decoder."""

GROUP = 4
"""Video frames of one latent frame after the first."""


class ChannelNorm(nnx.Module):
    """Scales every pixel's channels to unit root-mean-square, then by a learned gain."""

    def __init__(self, width: int, *, param_dtype=jnp.float32, rngs: nnx.Rngs, **_):
        self.gamma = nnx.Param(jnp.ones((width,), param_dtype))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        length = jnp.sqrt(jnp.sum(wide**2, axis=-1, keepdims=True))
        unit = wide / jnp.maximum(length, 1e-12)
        return (unit * x.shape[-1] ** 0.5).astype(x.dtype) * self.gamma[...].astype(x.dtype)


class CausalConv(nnx.Conv):
    """A 3x3x3 convolution that sees the frame itself and the two before it, and remembers the last two.

    It runs as a two-dimensional one over the channels of three frames side by side: the same sums, and up to three
    times as fast on a CPU, whose three-dimensional convolutions are poor.
    """

    def __init__(self, width_in: int, width_out: int, **kinds):
        super().__init__(width_in, width_out, (3, 3, 3), **kinds)

    def slots(self, height: int, width: int) -> list[tuple[int, ...]]:
        return [(2, height, width, self.in_features)]

    def __call__(self, x: Float[Array, "b t h w c"], memory: list) -> tuple[Float[Array, "b t h w d"], list]:
        frames = x.shape[1]
        seen = jnp.concatenate([memory.pop(0).astype(x.dtype), x], axis=1)
        beside = jnp.concatenate([seen[:, i : i + frames] for i in range(3)], axis=-1)
        kernel = jnp.concatenate([self.kernel[i] for i in range(3)], axis=-2)
        beside, kernel, bias = promote_dtype((beside, kernel, self.bias[...]), dtype=self.dtype)
        convolve = lambda y: jax.lax.conv_general_dilated(  # noqa: E731
            y, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return per_frame(convolve, beside) + bias, [seen[:, -2:]]


class ResidualBlock(nnx.Module):
    """Norm, SiLU, convolution, twice, beside a shortcut."""

    def __init__(self, width_in: int, width_out: int, **kinds):
        self.norm1, self.conv1 = ChannelNorm(width_in, **kinds), CausalConv(width_in, width_out, **kinds)
        self.norm2, self.conv2 = ChannelNorm(width_out, **kinds), CausalConv(width_out, width_out, **kinds)
        self.shortcut = nnx.Linear(width_in, width_out, **kinds) if width_in != width_out else None

    def slots(self, height: int, width: int) -> list[tuple[int, ...]]:
        return self.conv1.slots(height, width) + self.conv2.slots(height, width)

    def __call__(self, x: Float[Array, "b t h w c"], memory: list, first: bool):
        y, kept = self.conv1(jax.nn.silu(self.norm1(x)), memory)
        y, kept2 = self.conv2(jax.nn.silu(self.norm2(y)), memory)
        return y + (x if self.shortcut is None else self.shortcut(x)), kept + kept2


class SpatialAttention(nnx.Module):
    """One head over the cells of each frame by itself."""

    def __init__(self, width: int, **kinds):
        self.norm = ChannelNorm(width, **kinds)
        self.to_qkv, self.proj = nnx.Linear(width, 3 * width, **kinds), nnx.Linear(width, width, **kinds)

    def slots(self, height: int, width: int) -> list[tuple[int, ...]]:
        return []

    def __call__(self, x: Float[Array, "b t h w c"], memory: list, first: bool):
        cells = self.to_qkv(self.norm(x)).reshape(-1, x.shape[2] * x.shape[3], 1, 3 * x.shape[4])
        attended = jax.nn.dot_product_attention(*jnp.split(cells, 3, axis=-1))
        return x + self.proj(attended.reshape(x.shape)), []


class Downsample(nnx.Module):
    """Halves height and width and, with `time`, the frame rate."""

    factor = 0.5

    def __init__(self, width: int, time: bool, **kinds):
        self.space = nnx.Conv(width, width, (3, 3), strides=2, padding=((0, 1), (0, 1)), **kinds)
        self.time = nnx.Conv(width, width, (3, 1, 1), strides=(2, 1, 1), padding="VALID", **kinds) if time else None

    def slots(self, height: int, width: int) -> list[tuple[int, ...]]:
        return [(1, height // 2, width // 2, self.space.out_features)] if self.time is not None else []

    def __call__(self, x: Float[Array, "b t h w c"], memory: list, first: bool):
        x = per_frame(self.space, x)
        if self.time is None:
            return x, []
        last = memory.pop(0).astype(x.dtype)
        return (x if first else self.time(jnp.concatenate([last, x], axis=1))), [x[:, -1:]]


class Upsample(nnx.Module):
    """Doubles height and width, halves the channels and, with `time`, doubles the frame rate."""

    factor = 2

    def __init__(self, width: int, time: bool, **kinds):
        self.time = nnx.Conv(width, 2 * width, (3, 1, 1), padding="VALID", **kinds) if time else None
        self.space = conv(width, width // 2, **kinds)

    def slots(self, height: int, width: int) -> list[tuple[int, ...]]:
        return [(2, height, width, self.space.in_features)] if self.time is not None else []

    def __call__(self, x: Float[Array, "b t h w c"], memory: list, first: bool):
        kept = []
        if self.time is not None:
            past = memory.pop(0).astype(x.dtype)
            # The stream's first latent passes by and is not remembered.
            kept = [past]
            if not first:
                seen = jnp.concatenate([past, x], axis=1)
                x, kept = self.interleave(self.time(seen)), [seen[:, -2:]]
        return per_frame(self.space, jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)), kept

    def interleave(self, x: Float[Array, "b t h w 2c"]) -> Float[Array, "b 2t h w c"]:
        """The first half of the channels is the earlier frame."""
        b, t, h, w, c = x.shape
        return jnp.moveaxis(x.reshape(b, t, h, w, 2, c // 2), 4, 2).reshape(b, 2 * t, h, w, c // 2)


class Coder(nnx.Module):
    """What encoder and decoder share: a stem, layers one after the other, and a head, with their memories."""

    def __init__(self, stem: tuple[int, int], layers: list, head: tuple[int, int], **kinds):
        self.stem, self.layers = CausalConv(*stem, **kinds), nnx.List(layers)
        self.head_norm, self.head = ChannelNorm(head[0], **kinds), CausalConv(*head, **kinds)

    def memory(self, batch: int, height: int, width: int, dtype=jnp.float32) -> Memory:
        """Empty memory for inputs of `height` x `width` pixels or cells."""
        shapes = self.stem.slots(height, width)
        for layer in self.layers:
            shapes += layer.slots(height, width)
            factor = getattr(layer, "factor", 1)
            height, width = int(height * factor), int(width * factor)
        shapes += self.head.slots(height, width)
        return tuple(jnp.zeros((batch, *shape), dtype) for shape in shapes)

    def __call__(self, x: Float[Array, "b t h w c"], memory: Memory, first: bool):
        """Runs all layers; returns the result and the memory after it."""
        left = list(memory)
        x, kept = self.stem(x, left)
        for layer in self.layers:
            x, more = layer(x, left, first)
            kept += more
        x, last = self.head(jax.nn.silu(self.head_norm(x)), left)
        return x, tuple(kept + last)


def middle(width: int, **kinds) -> list:
    """The layers at the lowest resolution."""
    return [
        ResidualBlock(width, width, **kinds),
        SpatialAttention(width, **kinds),
        ResidualBlock(width, width, **kinds),
    ]


def encoder_layers(cfg: WanVAEConfig, **kinds) -> list:
    """Every stage's residual blocks and, after all but the last, a downsampling; then the middle."""
    layers, width = [], cfg.dim
    for stage, mult in enumerate(cfg.dim_mult):
        for _ in range(cfg.num_res_blocks):
            layers.append(ResidualBlock(width, cfg.dim * mult, **kinds))
            width = cfg.dim * mult
        if stage < len(cfg.dim_mult) - 1:
            layers.append(Downsample(width, cfg.time_downscale[stage], **kinds))
    return layers + middle(width, **kinds)


def decoder_layers(cfg: WanVAEConfig, **kinds) -> list:
    """The middle, then the stages from the lowest resolution up, with one more residual block each."""
    width = cfg.dim * cfg.dim_mult[-1]
    layers = middle(width, **kinds)
    for stage, mult in enumerate(reversed(cfg.dim_mult)):
        for _ in range(cfg.num_res_blocks + 1):
            layers.append(ResidualBlock(width, cfg.dim * mult, **kinds))
            width = cfg.dim * mult
        if stage < len(cfg.dim_mult) - 1:
            layers.append(Upsample(width, cfg.time_downscale[-1 - stage], **kinds))
            width //= 2
    return layers


class WanVAE(nnx.Module):
    """Encoder and decoder with one set of sizes."""

    def __init__(self, cfg: WanVAEConfig, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg, self.dtype = cfg, dtype or param_dtype
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        low, z = cfg.dim * cfg.dim_mult[-1], cfg.latent_channels
        self.encoder = Coder((3, cfg.dim), encoder_layers(cfg, **kinds), (low, 2 * z), **kinds)
        self.moments, self.unmix = nnx.Linear(2 * z, 2 * z, **kinds), nnx.Linear(z, z, **kinds)
        self.decoder = Coder((z, low), decoder_layers(cfg, **kinds), (cfg.dim * cfg.dim_mult[0], 3), **kinds)

    def encode(
        self, frames: Float[Array, "b t h w 3"], memory: Memory, first: bool
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Memory]:
        """Latents of one lone frame (`first`) or of a multiple of four, and the memory after them."""
        x, memory = self.encoder(frames, memory, first)
        mean = jnp.split(self.moments(x), 2, axis=-1)[0]
        shift, spread = (jnp.asarray(v, x.dtype) for v in (self.cfg.latent_mean, self.cfg.latent_std))
        return (mean - shift) / spread, memory

    def decode(
        self, latents: Float[Array, "b t h w c"], memory: Memory, first: bool
    ) -> tuple[Float[Array, "b t4 h8 w8 3"], Memory]:
        """Frames of one lone latent frame (`first`) or of any number; not clamped to [-1, 1]."""
        shift, spread = (jnp.asarray(v, latents.dtype) for v in (self.cfg.latent_mean, self.cfg.latent_std))
        return self.decoder(self.unmix(latents * spread + shift), memory, first)


def encode_clip(vae: WanVAE, frames: Float[Array, "b v h w 3"]) -> Float[Array, "b t h2 w2 c"]:
    """Latents of a whole clip of v = 4 t - 3 frames, group by group.

    Raises:
      ValueError: the frames do not fill groups.
    """
    batch, count, height, width = frames.shape[:4]
    if count % GROUP != 1:
        raise ValueError(f"{count} frames do not fill latent frames; 4t - 3 are needed")
    memory = vae.encoder.memory(batch, height, width, frames.dtype)
    lone, memory = vae.encode(frames[:, :1], memory, True)
    groups = frames[:, 1:].reshape(batch, -1, GROUP, height, width, 3).swapaxes(0, 1)
    _, rest = jax.lax.scan(lambda m, g: vae.encode(g, m, False)[::-1], memory, groups)
    return jnp.concatenate([lone, rest[:, :, 0].swapaxes(0, 1)], axis=1)


def decode_clip(vae: WanVAE, latents: Float[Array, "b t h w c"]) -> Float[Array, "b v h8 w8 3"]:
    """The 4 t - 3 frames of a whole clip, latent by latent; not clamped to [-1, 1]."""
    batch, _, height, width = latents.shape[:4]
    memory = vae.decoder.memory(batch, height, width, latents.dtype)
    lone, memory = vae.decode(latents[:, :1], memory, True)
    _, rest = jax.lax.scan(lambda m, z: vae.decode(z[:, None], m, False)[::-1], memory, latents[:, 1:].swapaxes(0, 1))
    return jnp.concatenate([lone, rest.swapaxes(0, 1).reshape(batch, -1, *lone.shape[2:])], axis=1)
