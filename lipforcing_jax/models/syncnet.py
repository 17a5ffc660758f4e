"""SyncNet v2: does this mouth say this sound? (spec training 3.1 and 3.3)

Two towers of convolutions turn five frames of a face and twenty rows of MFCC into embeddings of one space; their
distances over time are compared in `sync_distance`. The network is only ever run: the statistics of its norms are
parameters like the others. Its numbers are large (distances of 10 to 600), so it runs in float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.models.presets import SyncNetConfig


class Pool(NamedTuple):
    """A maximum over 3x3 cells; what lies outside of the map does not count."""

    stride: tuple[int, int] = (2, 2)
    padding: int = 0


class Layer(NamedTuple):
    """A convolution with a norm and a rectifier, and a pool after it. Without `kernel` it covers the whole map."""

    kernel: int | None = 3
    stride: int = 1
    padding: int = 1
    pool: Pool | None = None


EPSILON = 1e-5
"""Added to the variances of the norms."""
LAST = Layer(kernel=None, padding=0)
FACE_LAYERS = (
    Layer(7, 2, 0, Pool()), Layer(5, 2, 1, Pool(padding=1)), Layer(), Layer(), Layer(pool=Pool()), LAST,
)  # fmt: skip
SOUND_LAYERS = (Layer(), Layer(pool=Pool(stride=(1, 2))), Layer(), Layer(), Layer(pool=Pool()), LAST)


class FrozenNorm(nnx.Module):
    """Batch norm by stored statistics."""

    def __init__(self, width: int, *, param_dtype=jnp.float32, **_):
        # Arrays of their own: a training step that gives its buffers away may not meet one twice.
        self.scale, self.variance = (nnx.Param(jnp.ones((width,), param_dtype)) for _ in range(2))
        self.bias, self.mean = (nnx.Param(jnp.zeros((width,), param_dtype)) for _ in range(2))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        return (x - self.mean[...]) * jax.lax.rsqrt(self.variance[...] + EPSILON) * self.scale[...] + self.bias[...]


class Tower(nnx.Module):
    """Convolutions until one cell is left."""

    def __init__(
        self, layers: tuple[Layer, ...], channels: int, widths: tuple[int, ...], size: tuple[int, int], **kinds
    ):
        self.layers, self.convs, self.norms = layers, nnx.List(), nnx.List()
        for layer, width in zip(layers, widths, strict=True):
            kernel = size if layer.kernel is None else (layer.kernel,) * 2
            pad = ((layer.padding,) * 2,) * 2
            self.convs.append(nnx.Conv(channels, width, kernel, strides=layer.stride, padding=pad, **kinds))
            self.norms.append(FrozenNorm(width, **kinds))
            size, channels = map_size(size, layer), width

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
        for layer, conv, norm in zip(self.layers, self.convs, self.norms, strict=True):
            x = pool(jax.nn.relu(norm(conv(x))), layer.pool)
        return x.reshape(x.shape[0], -1)


def map_size(size: tuple[int, int], layer: Layer) -> tuple[int, int]:
    """Height and width of the map after a layer; incomplete windows are left out.

    Raises:
      ValueError: nothing is left of the map.
    """
    if layer.kernel is None:
        return 1, 1
    size = tuple((n + 2 * layer.padding - layer.kernel) // layer.stride + 1 for n in size)
    if layer.pool is not None:
        size = tuple((n + 2 * layer.pool.padding - 3) // s + 1 for n, s in zip(size, layer.pool.stride, strict=True))
    if min(size) < 1:
        raise ValueError(f"SyncNet's windows are too small: a map of {size[0]} x {size[1]} cells is left of them")
    return size


def pool(x: Float[Array, "n h w c"], kind: Pool | None) -> Float[Array, "n h2 w2 c"]:
    """The maximum over 3x3 cells, if the layer has one."""
    if kind is None:
        return x
    return nnx.max_pool(x, (3, 3), strides=kind.stride, padding=((kind.padding,) * 2,) * 2)


class Head(nnx.Module):
    """From a tower's features to the embedding, which is not normalised."""

    def __init__(self, width: int, hidden: int, embedding: int, **kinds):
        self.inner, self.norm = nnx.Linear(width, hidden, **kinds), FrozenNorm(hidden, **kinds)
        self.outer = nnx.Linear(hidden, embedding, **kinds)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n e"]:
        return self.outer(jax.nn.relu(self.norm(self.inner(x))))


class SyncNet(nnx.Module):
    """Both towers with their heads. Five frames enter as one picture of fifteen channels."""

    def __init__(self, cfg: SyncNetConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg = cfg
        kinds = {"param_dtype": param_dtype, "rngs": rngs}
        self.face = Tower(FACE_LAYERS, 3 * cfg.frames, cfg.face_widths, (cfg.face_size, cfg.face_size), **kinds)
        self.sound = Tower(SOUND_LAYERS, 1, cfg.sound_widths, (cfg.cepstra, cfg.rows), **kinds)
        self.face_head = Head(cfg.face_widths[-1], cfg.hidden, cfg.embedding, **kinds)
        self.sound_head = Head(cfg.sound_widths[-1], cfg.hidden, cfg.embedding, **kinds)

    def embed_faces(self, frames: Float[Array, "t s s 3"]) -> Float[Array, "n e"]:
        """One embedding for every five frames in a row, n = t - 4; the frames are those of `prepare_frames`."""
        return self.face_head(self.face(face_windows(frames, self.cfg)))

    def embed_sound(self, cepstra: Float[Array, "m c"]) -> Float[Array, "n e"]:
        """One embedding per video frame for every twenty rows of MFCC, 100 rows a second."""
        return self.sound_head(self.sound(sound_windows(cepstra, self.cfg)))


def to_levels(pixels: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Pixels in [-1, 1] as whole levels 0 ... 255, cut and not rounded, as the reference stores pictures."""
    return jnp.floor((jnp.clip(pixels, -1, 1) + 1) * 127.5)


def prepare_frames(levels: Float[Array, "t h w 3"], cfg: SyncNetConfig) -> Float[Array, "t s s 3"]:
    """Whole aligned RGB faces in [0, 255] as the network sees them: BGR, bilinear without antialiasing."""
    size = (levels.shape[0], cfg.face_size, cfg.face_size, 3)
    return jax.image.resize(levels.astype(jnp.float32), size, "bilinear", antialias=False)[..., ::-1]


def face_windows(frames: Float[Array, "t s s 3"], cfg: SyncNetConfig) -> Float[Array, "n s s c"]:
    """Every `cfg.frames` frames in a row, their channels side by side, the earliest first.

    Raises:
      ValueError: there are fewer frames than one window has.
    """
    count = frames.shape[0] - cfg.frames + 1
    if count < 1:
        raise ValueError(f"SyncNet looks at {cfg.frames} frames at once, the clip has {frames.shape[0]}")
    return jnp.concatenate([frames[i : i + count] for i in range(cfg.frames)], axis=-1)


def sound_windows(cepstra: Float[Array, "m c"], cfg: SyncNetConfig) -> Float[Array, "n c r 1"]:
    """`cfg.rows` rows of MFCC from every video frame on, as pictures of coefficients by time.

    Raises:
      ValueError: there are fewer rows than one window has.
    """
    spare = cepstra.shape[0] - cfg.rows
    if spare < 0:
        raise ValueError(f"SyncNet hears {cfg.rows} rows of MFCC at once, the sound has {cepstra.shape[0]}")
    starts = jnp.arange(0, spare + 1, cfg.rows_per_frame)
    windows = cepstra[starts[:, None] + jnp.arange(cfg.rows)]
    return windows.swapaxes(1, 2)[..., None]


def evaluated_windows(frames: int, samples: int, cfg: SyncNetConfig, samples_per_frame: int = 640) -> int:
    """How many windows of both sequences the published evaluation compares (one fewer than there are)."""
    return min(frames, samples // samples_per_frame) - cfg.frames
