"""wav2vec2 as the reference hears with it: 25 features a second, all hidden states side by side (spec inference 3).

The convolutions' output, about 50 rows a second, is brought to the video's frames before the transformer. Attention
and the first layer's norm see the whole file. For long files `prepare` and `encode_span` give the features of any
stretch of frames in bounded memory: the norm's statistics are those of the whole file, so everything up to the
transformer is exact, and the transformer sees the stretch with `context` frames on both sides.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from lipforcing_jax.models.presets import Wav2Vec2Config


class TimeStats(NamedTuple):
    """Mean and variance over time of every channel of the first convolution."""

    mean: Float[Array, " c"]
    variance: Float[Array, " c"]


def normalise(wave: Float[Array, " n"]) -> Float[Array, " n"]:
    """The whole sound at zero mean and unit variance."""
    return (wave - jnp.mean(wave)) / jnp.sqrt(jnp.var(wave) + 1e-7)


def pad(wave: Float[Array, " n"], frames: int, cfg: Wav2Vec2Config) -> Float[Array, " m"]:
    """Zeros after the sound, up to `frames` video frames; after normalising, as in the reference.

    Raises:
      ValueError: the sound is longer than the frames.
    """
    missing = frames * cfg.samples_per_frame - wave.shape[0]
    if missing < 0:
        raise ValueError(f"{wave.shape[0]} samples are more than {frames} frames of {cfg.samples_per_frame}")
    return jnp.pad(wave, (0, missing))


def frame_count(samples: int, cfg: Wav2Vec2Config, at_least: int = 1) -> int:
    """Video frames that a sound of so many samples fills, the last one padded."""
    return max(-(-samples // cfg.samples_per_frame), at_least)


def interpolate(rows: Float[Array, "b l c"], frames: int) -> Float[Array, "b n c"]:
    """Linear interpolation in time with both ends kept."""
    return _mix(rows, _positions(jnp.arange(frames), rows.shape[1], frames))


class Place(NamedTuple):
    """Between which two rows a frame lies, and how far from the first."""

    row: Int[Array, " n"]
    part: Float[Array, " n"]


def _positions(frames: Int[Array, " n"], rows: int, count: int) -> Place:
    """Places of `frames` out of `count` among `rows` rows: i (rows - 1) / (count - 1), in integers where it matters."""
    if count == 1:
        return Place(jnp.zeros_like(frames), jnp.zeros(frames.shape))
    # The product can pass 2^31 for a long file; whole and rest are formed apart.
    whole, rest = divmod(rows - 1, count - 1)
    row = frames * whole + _scaled(frames, rest, count - 1)[0]
    return Place(row, _scaled(frames, rest, count - 1)[1])


def _scaled(frames: Int[Array, " n"], rest: int, count: int) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Floor and fraction of frames * rest / count, without overflow while frames and rest are below 2^31."""
    high, low = frames // 1024, frames % 1024
    q1, r1 = divmod(1024 * rest, count)
    part = high * r1 + low * rest
    return high * q1 + part // count, (part % count) / count


def _mix(rows: Float[Array, "b l c"], place: Place) -> Float[Array, "b n c"]:
    after = jnp.minimum(place.row + 1, rows.shape[1] - 1)
    part = place.part[:, None].astype(rows.dtype)
    return rows[:, place.row] * (1 - part) + rows[:, after] * part


class PositionalConv(nnx.Module):
    """A wide grouped convolution whose weight is a direction and one length per tap."""

    def __init__(self, cfg: Wav2Vec2Config, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        taps, width, groups = cfg.position_taps, cfg.hidden_size, cfg.position_groups
        self.groups = groups
        init = nnx.initializers.lecun_normal()
        self.weight_v = nnx.Param(init(rngs.params(), (taps, width // groups, width), param_dtype))
        self.weight_g = nnx.Param(jnp.ones((taps,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((width,), param_dtype))

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        v, taps = self.weight_v[...], self.weight_v.shape[0]
        kernel = self.weight_g[...][:, None, None] * v / jnp.sqrt(jnp.sum(v**2, axis=(1, 2), keepdims=True))
        y = jax.lax.conv_general_dilated(
            x, kernel.astype(x.dtype), (1,), [(taps // 2, taps // 2)], feature_group_count=self.groups,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        # An even kernel gives one row too many; the last is dropped.
        return jax.nn.gelu(y[:, : x.shape[1]] + self.bias[...].astype(x.dtype), approximate=False)


def layer_norm(width: int, **kinds) -> nnx.LayerNorm:
    """Layer norm with the network's epsilon and an exact variance."""
    return nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, **kinds)


class TransformerLayer(nnx.Module):
    """Self-attention and feed-forward, each followed by a norm."""

    def __init__(self, cfg: Wav2Vec2Config, **kinds):
        width = cfg.hidden_size
        self.heads = cfg.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nnx.Linear(width, width, **kinds) for _ in range(4))
        self.layer_norm, self.final_layer_norm = layer_norm(width, **kinds), layer_norm(width, **kinds)
        self.intermediate_dense = nnx.Linear(width, cfg.intermediate_size, **kinds)
        self.output_dense = nnx.Linear(cfg.intermediate_size, width, **kinds)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        q, k, v = (p(x).reshape(*x.shape[:2], self.heads, -1) for p in (self.q_proj, self.k_proj, self.v_proj))
        attended = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        x = self.layer_norm(x + self.out_proj(attended))
        hidden = jax.nn.gelu(self.intermediate_dense(x), approximate=False)
        return self.final_layer_norm(x + self.output_dense(hidden))


class Wav2Vec2(nnx.Module):
    """Convolutions over the samples, then a transformer over video frames."""

    def __init__(self, cfg: Wav2Vec2Config, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg = cfg
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        widths = (1, *cfg.conv_dim)
        self.convs = nnx.List([
            nnx.Conv(a, b, (kernel,), strides=stride, padding="VALID", use_bias=False, **kinds)
            for a, b, kernel, stride in zip(widths, widths[1:], cfg.conv_kernel, cfg.conv_stride, strict=False)
        ])  # fmt: skip
        self.group_scale = nnx.Param(jnp.ones((cfg.conv_dim[0],), param_dtype))
        self.group_bias = nnx.Param(jnp.zeros((cfg.conv_dim[0],), param_dtype))
        self.feature_norm = layer_norm(cfg.conv_dim[-1], **kinds)
        self.projection = nnx.Linear(cfg.conv_dim[-1], cfg.hidden_size, **kinds)
        self.position = PositionalConv(cfg, **kinds)
        self.encoder_norm = layer_norm(cfg.hidden_size, **kinds)
        make = nnx.vmap(lambda r: TransformerLayer(cfg, **(kinds | {"rngs": r})), in_axes=(0,), out_axes=0)
        self.layers = make(rngs.split(cfg.num_layers))

    def convolve(self, wave: Float[Array, "b n"], stats: TimeStats | None = None) -> Float[Array, "b l c"]:
        """Rows of the convolutions; `stats` replace the statistics of the given samples in the first layer."""
        x = self.convs[0](wave[..., None])
        mean, variance = (jnp.mean(x, 1, keepdims=True), jnp.var(x, 1, keepdims=True)) if stats is None else stats
        x = (x - mean) / jnp.sqrt(variance + 1e-5) * self.group_scale[...] + self.group_bias[...]
        x = jax.nn.gelu(x, approximate=False)
        for layer in self.convs[1:]:
            x = jax.nn.gelu(layer(x), approximate=False)
        return x

    def transform(self, rows: Float[Array, "b n c"]) -> Float[Array, "b n k"]:
        """Features of frames from their convolution rows: last hidden state first, then all in order."""
        x = self.projection(self.feature_norm(rows))
        x = self.encoder_norm(x + self.position(x))
        graphdef, stacked = nnx.split(self.layers)

        def one(hidden, layer):
            hidden = nnx.merge(graphdef, layer)(hidden)
            return hidden, hidden

        last, states = jax.lax.scan(one, x, stacked)
        return jnp.concatenate([last, x, *states], axis=-1)


def encode(model: Wav2Vec2, wave: Float[Array, " n"], frames: int) -> Float[Array, "frames k"]:
    """Features of a whole sound: [frames, (layers + 2) x hidden].

    Args:
      wave: 16 kHz mono in [-1, 1], at most 640 x `frames` samples.
    """
    padded = pad(normalise(wave), frames, model.cfg)
    return model.transform(interpolate(model.convolve(padded[None]), frames))[0]


class Prepared(NamedTuple):
    """A long sound, normalised and padded, with what `encode_span` must know of all of it."""

    wave: Float[Array, " m"]
    stats: TimeStats


def conv_rows(samples: int, cfg: Wav2Vec2Config) -> int:
    """Rows that the convolutions make of so many samples."""
    for kernel, stride in zip(cfg.conv_kernel, cfg.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def receptive_field(cfg: Wav2Vec2Config) -> tuple[int, int]:
    """Samples that one row sees, and samples from one row to the next: 400 and 320."""
    field, step = 1, 1
    for kernel, stride in zip(cfg.conv_kernel, cfg.conv_stride, strict=True):
        field, step = field + (kernel - 1) * step, step * stride
    return field, step


def prepare(model: Wav2Vec2, wave: Float[Array, " n"], frames: int, block: int = 4096) -> Prepared:
    """Normalises and pads a sound and measures the first layer's statistics, `block` rows at a time."""
    cfg, padded = model.cfg, pad(normalise(wave), frames, model.cfg)
    kernel, stride = cfg.conv_kernel[0], cfg.conv_stride[0]
    rows = (padded.shape[0] - kernel) // stride + 1
    blocks = -(-rows // block)
    span = (block - 1) * stride + kernel
    long = jnp.pad(padded, (0, max(0, (blocks - 1) * block * stride + span - padded.shape[0])))

    def total(of):
        def one(i):
            part = jax.lax.dynamic_slice(long, (i * block * stride,), (span,))
            x = of(model.convs[0](part[None, :, None])[0])
            return jnp.where((i * block + jnp.arange(block))[:, None] < rows, x, 0).sum(0)

        return jax.lax.map(one, jnp.arange(blocks)).sum(0) / rows

    mean = total(lambda x: x)
    return Prepared(padded, TimeStats(mean, total(lambda x: (x - mean) ** 2)))


def encode_span(
    model: Wav2Vec2, sound: Prepared, start: Int[Array, ""], span: int, context: int
) -> Float[Array, "span k"]:
    """Features of frames start ... start + span - 1, heard with up to `context` frames on both sides.

    One program serves all stretches of a file. At the file's ends the context that one side lacks goes to the other.
    The file must have at least `span` frames, and `start` must leave room for them.
    """
    cfg = model.cfg
    frames = sound.wave.shape[0] // cfg.samples_per_frame
    window = min(span + 2 * context, frames)
    field, step = receptive_field(cfg)
    rows = conv_rows(sound.wave.shape[0], cfg)
    begin = jnp.clip(start - context, 0, frames - window)
    place = _positions(begin + jnp.arange(window), rows, frames)
    needed = min(rows, -(-window * rows // frames) + 2)
    first = jnp.minimum(place.row[0], rows - needed)
    part = jax.lax.dynamic_slice(sound.wave, (first * step,), ((needed - 1) * step + field,))
    mixed = _mix(model.convolve(part[None], sound.stats), Place(place.row - first, place.part))
    return jax.lax.dynamic_slice_in_dim(model.transform(mixed)[0], start - begin, span)


def spans(frames: int, span: int) -> np.ndarray:
    """Where stretches of `span` frames begin that together cover `frames`; the last one may overlap its neighbour."""
    return np.minimum(np.arange(0, frames, span), frames - span)
