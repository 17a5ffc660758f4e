"""The Wan autoencoder's keys in diffusers' spelling (`AutoencoderKLWan`)."""

import re

from lipforcing_jax.models.presets import WanVAEConfig

MODULES = {
    "encoder.conv_in": "encoder.conv1",
    "encoder.norm_out": "encoder.head.0",
    "encoder.conv_out": "encoder.head.2",
    "decoder.conv_in": "decoder.conv1",
    "decoder.norm_out": "decoder.head.0",
    "decoder.conv_out": "decoder.head.2",
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
}
RESIDUAL = {
    "norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}  # fmt: skip
MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
IN_MIDDLE = re.compile(r"(\w+)\.mid_block\.(\w+\.\d)\.(.*)")
IN_DOWN = re.compile(r"encoder\.down_blocks\.(\d+)\.(.*)")
IN_UP = re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.*)")


def is_diffusers(names) -> bool:
    """Whether a checkpoint with these keys is in diffusers' spelling."""
    return any(name.startswith(("quant_conv.", "encoder.down_blocks.", "decoder.up_blocks.")) for name in names)


def native_name(name: str, num_res_blocks: int = WanVAEConfig.num_res_blocks) -> str:
    """The reference's key of a diffusers key; other keys stay as they are.

    Diffusers groups the decoder's layers by stage: `num_res_blocks` + 1 residual blocks, then an upsampling. The
    reference counts through.
    """
    if match := IN_MIDDLE.fullmatch(name):
        half, layer, rest = match.groups()
        return f"{half}.middle.{MIDDLE[layer]}.{rest if layer == 'attentions.0' else _residual(rest)}"
    if match := IN_DOWN.fullmatch(name):
        return f"encoder.downsamples.{match[1]}.{_residual(match[2])}"
    if match := IN_UP.fullmatch(name):
        stage, kind, index, rest = match.groups()
        inside = int(index) if kind == "resnets" else num_res_blocks + 1
        return f"decoder.upsamples.{int(stage) * (num_res_blocks + 2) + inside}.{_residual(rest)}"
    module, _, leaf = name.rpartition(".")
    return f"{MODULES.get(module, module)}.{leaf}" if module else name


def _residual(inside: str) -> str:
    """A residual block's key; a resampling's is the same on both sides."""
    module, _, leaf = inside.rpartition(".")
    return f"{RESIDUAL.get(module, module)}.{leaf}"
