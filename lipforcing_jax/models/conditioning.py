"""What the DiT is told: the 49 conditioning channels and the audio vectors (spec network 3 and 4)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

FRAMES_PER_LATENT = 4


def condition_channels(
    ref_latent: Float[Array, "b 1 h w c"],
    mask: Float[Array, "h w"],
    masked_video: Float[Array, "b t h w c"],
    ref_sequence: Float[Array, "b t h w c"],
) -> Float[Array, "b t h w y"]:
    """The channels after the noisy latent, in order: reference frame, 1 - mask, masked video, reference sequence.

    `mask` is 1 where the picture is kept; the channel says where to generate, hence 1 - mask (spec network 4.1).
    """
    batch, frames, height, width, channels = masked_video.shape
    reference = jnp.broadcast_to(ref_latent, (batch, frames, height, width, channels))
    generate = jnp.broadcast_to((1.0 - mask)[None, None, :, :, None], (batch, frames, height, width, 1))
    parts = [reference, generate.astype(masked_video.dtype), masked_video, ref_sequence]
    return jnp.concatenate(parts, axis=-1)


def group_audio(audio: Float[Array, "b v a"]) -> Float[Array, "b t 4a"]:
    """One row per latent frame: frame 0 four times, then frames 4m-3 ... 4m, time-major (spec network 3.2).

    The number of video frames v must be 4t - 3.
    """
    batch, frames, width = audio.shape
    if (frames + 3) % FRAMES_PER_LATENT:
        raise ValueError(f"{frames} audio frames do not fill latent frames; 4t - 3 are needed")
    padded = jnp.concatenate([jnp.repeat(audio[:, :1], 3, axis=1), audio], axis=1)
    return padded.reshape(batch, -1, FRAMES_PER_LATENT * width)


class AudioPack(nnx.Module):
    """Linear and layer norm that press the features of four video frames into `hidden` numbers."""

    def __init__(self, audio_dim: int, hidden: int, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.proj = nnx.Linear(FRAMES_PER_LATENT * audio_dim, hidden, **kinds)
        # PyTorch's default epsilon, unlike every other norm of the network (spec network 3.2).
        self.norm_out = nnx.LayerNorm(hidden, epsilon=1e-5, use_fast_variance=False, **kinds)

    def __call__(self, grouped: Float[Array, "b t 4a"]) -> Float[Array, "b t hidden"]:
        return self.norm_out(self.proj(grouped))


class AudioProjections(nnx.Module):
    """One linear layer per block that hears the sound, stacked on a leading axis."""

    def __init__(self, count: int, hidden: int, dim: int, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        init = nnx.initializers.lecun_normal(batch_axis=0)
        self.kernel = nnx.Param(init(rngs.params(), (count, hidden, dim), param_dtype))
        self.bias = nnx.Param(jnp.zeros((count, dim), param_dtype))

    def __call__(self, packed: Float[Array, "b t hidden"]) -> Float[Array, "n b t d"]:
        kernel, bias = (p[...].astype(packed.dtype) for p in (self.kernel, self.bias))
        return jnp.einsum("bth,nhd->nbtd", packed, kernel) + bias[:, None, None, :]


def injected(vectors: Float[Array, "n b t d"], num_layers: int) -> Float[Array, "layers b t d"]:
    """Places projection j at block j + 2; all other blocks get exact zeros (spec network 3.3)."""
    after = num_layers - 2 - vectors.shape[0]
    return jnp.pad(vectors, ((2, after), (0, 0), (0, 0), (0, 0)))


def repeat_per_token(per_frame: Float[Array, "b t d"], tokens_per_frame: int) -> Float[Array, "b n d"]:
    """Gives every token its frame's vector; one vector per clip (t = 1) stays as it is and broadcasts."""
    if per_frame.shape[1] == 1:
        return per_frame
    return jnp.repeat(per_frame, tokens_per_frame, axis=1)


def split_modulation(table: Float[Array, "b n k d"]) -> list[Float[Array, "b n d"]]:
    """Shift, scale and gate vectors in their stored order."""
    return [jax.lax.index_in_dim(table, i, axis=2, keepdims=False) for i in range(table.shape[2])]
