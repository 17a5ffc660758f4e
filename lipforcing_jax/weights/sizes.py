"""Sizes of a network from the shapes of its checkpoint's tensors.

What shapes do not say is what every published checkpoint has in common: the width of a head, strides, the layout of
TAEHV. The names are the reference's (`*_names.py`); whoever asks still has to check all keys against the sizes found.
"""

import re
from math import isqrt

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import (
    DiTConfig,
    SyncNetConfig,
    TinyVAEConfig,
    WanVAEConfig,
    Wav2Vec2Config,
)
from lipforcing_jax.weights.source import Source

WAN_HEAD = 128
WAV2VEC2_HEAD = 64
"""Width of one head in every published size."""


def shape(found: Source, name: str, axes: int, what: str) -> tuple[int, ...]:
    """Shape of the tensor called `name`.

    Raises:
      UserError: it is missing or does not have so many axes; the sentence says that the file is not `what`.
    """
    if name not in found.tensors:
        raise UserError(f"The checkpoint {found.files[0]} is not {what}: it has no tensor {name}.")
    if found.tensors[name].ndim != axes:
        raise UserError(
            f"The checkpoint {found.files[0]} is not {what}: {name} has {found.tensors[name].ndim} axes, not {axes}."
        )
    return found.tensors[name].shape


def count(found: Source, pattern: str) -> int:
    """One more than the highest number that `pattern`'s group takes among the names."""
    return 1 + max((int(m[1]) for m in map(re.compile(pattern).match, found.tensors) if m), default=-1)


def heads(width: int, of_head: int, given: int | None, what: str, option: str) -> int:
    """Number of heads of a network of some width.

    Raises:
      UserError: it can't be told from the width, or the given number does not divide it; `option` mends it.
    """
    if given is None and width % of_head:
        raise UserError(f"{what} is {width} wide, no multiple of {of_head}; say how many heads it has {option}.")
    number = given or width // of_head
    if width % number:
        raise UserError(f"{what} is {width} wide, which {number} heads can't share; say how many it has {option}.")
    return number


def dit(found: Source, num_heads: int | None = None) -> DiTConfig:
    """Of the diffusion transformer."""
    what = "a Wan student with sound"
    dim, in_dim, *patch = shape(found, "patch_embedding.weight", 5, what)
    hidden, grouped = shape(found, "audio_proj.proj.weight", 2, what)
    return DiTConfig(
        dim=dim,
        num_heads=heads(dim, WAN_HEAD, num_heads, f"The diffusion network in {found.files[0]}", "by --heads"),
        ffn_dim=shape(found, "blocks.0.ffn.0.weight", 2, what)[0],
        num_layers=count(found, r"blocks\.(\d+)\."),
        text_dim=shape(found, "text_embedding.0.weight", 2, what)[1],
        audio_dim=grouped // 4,
        audio_hidden=hidden,
        latent_channels=shape(found, "head.head.weight", 2, what)[0] // (patch[1] * patch[2]),
        in_dim=in_dim,
        freq_dim=shape(found, "time_embedding.0.weight", 2, what)[1],
        patch=(1, patch[1], patch[2]),
    )


def wan_vae(found: Source) -> WanVAEConfig:
    """Of the Wan video autoencoder. Layers that change the resolution divide the encoder's list into stages."""
    what = "a Wan video autoencoder"
    dim = shape(found, "encoder.conv1.weight", 5, what)[0]
    latents = shape(found, "conv2.weight", 5, what)[0]
    widths, blocks, time = [dim], [0], []
    for i in range(count(found, r"encoder\.downsamples\.(\d+)\.")):
        if f"encoder.downsamples.{i}.resample.1.weight" in found.tensors:
            time.append(f"encoder.downsamples.{i}.time_conv.weight" in found.tensors)
            widths.append(widths[-1])
            blocks.append(0)
        else:
            widths[-1] = shape(found, f"encoder.downsamples.{i}.residual.2.weight", 5, what)[0]
            blocks[-1] += 1
    if latents != len(WanVAEConfig().latent_mean):
        raise UserError(
            f"The video autoencoder in {found.files[0]} has {latents} latent channels; the mean and spread of the "
            "latents are known for the Wan 2.1 autoencoder with 16."
        )
    return WanVAEConfig(
        dim=dim, dim_mult=tuple(width // dim for width in widths), num_res_blocks=blocks[0], time_downscale=tuple(time)
    )


def tiny_vae(found: Source) -> TinyVAEConfig:
    """Of TAEHV, in the layout of `taew2_1`: three stages on each side, which halve height and width."""
    what = "TAEHV (taew2_1)"
    stem, pixels = shape(found, "encoder.0.weight", 4, what)[:2]
    downs = [i for i in range(count(found, r"encoder\.(\d+)\.")) if f"encoder.{i}.conv.weight" in found.tensors]
    grows = [i for i in range(count(found, r"decoder\.(\d+)\.")) if f"decoder.{i}.conv.weight" in found.tensors]
    layout = TinyVAEConfig()
    if len(downs) != len(layout.encoder_widths) or len(grows) != len(layout.decoder_widths):
        raise UserError(
            f"The checkpoint {found.files[0]} is not {what}: it has {len(downs)} stages in the encoder and "
            f"{len(grows)} in the decoder, not 3."
        )
    tail = shape(found, f"decoder.{grows[-1] + 1}.weight", 4, what)[0]
    return TinyVAEConfig(
        latent_channels=shape(found, "decoder.1.weight", 4, what)[1],
        patch_size=isqrt(pixels // layout.image_channels),
        encoder_stem=stem,
        encoder_widths=tuple(shape(found, f"encoder.{i + 1}.weight", 4, what)[0] for i in downs),
        decoder_widths=tuple(shape(found, f"decoder.{i}.conv.weight", 4, what)[1] for i in grows),
        decoder_tail=tail,
        encoder_blocks=downs[1] - downs[0] - 2,
        decoder_blocks=grows[0] - 4,
    )


def wav2vec2(found: Source, facts: dict) -> Wav2Vec2Config:
    """Of wav2vec2; `facts` is the content of its config.json, or empty.

    Raises:
      UserError: it is a variant with other arithmetic, or not wav2vec2 at all.
    """
    what = "wav2vec2-base"
    layout = Wav2Vec2Config()
    if facts.get("do_stable_layer_norm") or facts.get("feat_extract_norm", "group") != "group":
        raise UserError(f"The network in {found.files[0]} norms in other places than wav2vec2-base; give that one.")
    convs = count(found, r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight")
    kernels = [shape(found, f"feature_extractor.conv_layers.{i}.conv.weight", 3, what) for i in range(convs)]
    strides = tuple(facts.get("conv_stride", layout.conv_stride))
    if convs != len(strides):
        raise UserError(
            f"The checkpoint {found.files[0]} is not {what}: it has {convs} convolutions, not {len(strides)}."
        )
    width = shape(found, "feature_projection.projection.weight", 2, what)[0]
    _, grouped, taps = shape(found, "encoder.pos_conv_embed.conv.weight_v", 3, what)
    number = facts.get("num_attention_heads")
    number = heads(width, WAV2VEC2_HEAD, number, f"The wav2vec2 in {found.files[0]}", "in a config.json beside it")
    return Wav2Vec2Config(
        hidden_size=width,
        num_layers=count(found, r"encoder\.layers\.(\d+)\."),
        num_heads=number,
        intermediate_size=shape(found, "encoder.layers.0.feed_forward.intermediate_dense.weight", 2, what)[0],
        conv_dim=tuple(k[0] for k in kernels),
        conv_kernel=tuple(k[2] for k in kernels),
        conv_stride=strides,
        position_taps=taps,
        position_groups=width // grouped,
    )


def syncnet(found: Source) -> SyncNetConfig:
    """Of SyncNet; the sizes of its windows are those of the published one."""
    what = "SyncNet (syncnet_v2)"
    convs = (0, 4, 8, 11, 14, 18)
    return SyncNetConfig(
        face_widths=tuple(shape(found, f"netcnnlip.{i}.weight", 5, what)[0] for i in convs),
        sound_widths=tuple(shape(found, f"netcnnaud.{i}.weight", 4, what)[0] for i in convs),
        hidden=shape(found, "netfclip.0.weight", 2, what)[0],
        embedding=shape(found, "netfclip.3.weight", 2, what)[0],
        frames=shape(found, "netcnnlip.0.weight", 5, what)[2],
    )
